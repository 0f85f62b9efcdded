// Plays a video that is still being made: the growing stream goes piece by piece into a MediaSource.
// (A plain src would wait: browsers hold back the end of a stream whose length is unknown.)
const Source = window.ManagedMediaSource ?? window.MediaSource;

// "avc1.64000a" from the avcC box of the stream's beginning, or null while it is not there yet.
function codecOf(bytes) {
  for (let i = 4; i + 8 < bytes.length; ++i) {
    if (bytes[i] === 0x61 && bytes[i + 1] === 0x76 && bytes[i + 2] === 0x63 && bytes[i + 3] === 0x43) {
      const hex = (at) => bytes[at].toString(16).padStart(2, '0');
      return `avc1.${hex(i + 5)}${hex(i + 6)}${hex(i + 7)}`;
    }
  }
  return null;
}

function joined(pieces) {
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

const once = (target, name) => new Promise((resolve, reject) => {
  target.addEventListener(name, resolve, {once: true});
  target.addEventListener('error', () => reject(new Error('the browser cannot play this')), {once: true});
});

// What has been watched long ago makes room; true when there was something to remove.
async function forget(buffer, player) {
  const end = player.currentTime - 30;
  if (!buffer.buffered.length || buffer.buffered.start(0) >= end) return false;
  buffer.remove(0, end);
  await once(buffer, 'updateend');
  return true;
}

async function append(buffer, bytes, player) {
  for (;;) {
    try {
      buffer.appendBuffer(bytes);
      return await once(buffer, 'updateend');
    } catch (error) {
      if (error.name !== 'QuotaExceededError') throw error;
      // Full: wait until enough has been watched.
      if (!await forget(buffer, player)) await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

async function pump(url, source, player, signal) {
  await once(source, 'sourceopen');
  const response = await fetch(url, {signal});
  if (!response.ok) throw new Error(`the stream answered ${response.status}`);
  const reader = response.body.getReader();
  let buffer = null, held = [];
  for (;;) {
    const {done, value} = await reader.read();
    if (value) held.push(value);
    if (!buffer && held.length) {
      const codec = codecOf(joined(held));
      if (codec) buffer = source.addSourceBuffer(`video/mp4; codecs="${codec}"`);
    }
    if (buffer && held.length) {
      const bytes = joined(held);
      held = [];
      await append(buffer, bytes, player);
    }
    if (done) break;
  }
  if (source.readyState === 'open') source.endOfStream();
}

// Returns a function that ends it. `failed` is called when it cannot go on.
export function playGrowing(player, url, failed) {
  const abort = new AbortController();
  if (!Source) {
    player.src = url;
    return () => {};
  }
  const source = new Source();
  player.disableRemotePlayback = true;
  player.src = URL.createObjectURL(source);
  pump(url, source, player, abort.signal).catch((error) => {
    if (!abort.signal.aborted) failed(error);
  });
  return () => abort.abort();
}
