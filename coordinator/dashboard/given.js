// What a video starts from: one picture or video of the visitor's, shown before it is sent.
const by = (id) => document.getElementById(id);
const kMaxBytes = 15 * 1024 * 1024;  // the service takes 16 MiB with everything around it

let file = null;
const isVideo = () => file !== null && (file.type.startsWith('video/') || file.type === 'image/gif');

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function show() {
  for (const id of ['given-still', 'given-clip']) {
    const place = by(id);
    if (place.src) URL.revokeObjectURL(place.src);
    place.removeAttribute('src');
    place.hidden = true;
  }
  by('given-chosen').hidden = by('given-clear').hidden = file === null;
  by('given-use').hidden = !isVideo();
  if (file === null) return;
  const place = by(file.type.startsWith('video/') ? 'given-clip' : 'given-still');
  place.src = URL.createObjectURL(file);
  place.hidden = false;
  by('given-name').textContent = file.name;
  by('given-size').textContent = `${isVideo() ? 'video' : 'picture'}, ${size(file.size)}`;
  showUse();
}

// How strongly a video changes says nothing about its continuation.
function showUse() {
  by('strength-field').hidden = use() !== 'input_video';
  by('strength-text').value = `${Math.round(by('strength').value * 100)} %`;
}

const use = () => document.querySelector('input[name="given-use"]:checked').value;

function choose(chosen) {
  const place = by('given-error');
  place.textContent = '';
  file = null;
  if (chosen && !/^(image|video)\//.test(chosen.type)) {
    place.textContent = `${chosen.name} is neither a picture nor a video.`;
  } else if (chosen && chosen.size > kMaxBytes) {
    place.textContent = `${chosen.name} has ${size(chosen.size)}; at most ${size(kMaxBytes)} can be sent.`;
  } else {
    file = chosen ?? null;
  }
  by('given').toggleAttribute('aria-invalid', place.textContent !== '');
  show();
}

export function begin() {
  by('given').onchange = () => choose(by('given').files[0]);
  by('given-clear').onclick = () => {
    by('given').value = '';
    choose(null);
    by('given').focus();
  };
  by('strength').oninput = showUse;
  for (const choice of document.querySelectorAll('input[name="given-use"]')) choice.onchange = showUse;
  show();
}

// The request's fields as the service takes them: a form where a file goes along.
export function withFile(fields) {
  if (file === null) return fields;
  const form = new FormData();
  const remade = isVideo() && use() === 'input_video';
  for (const [name, value] of Object.entries(fields)) {
    if (remade && name === 'seconds') continue;  // as long as the video
    form.append(name, value);
  }
  if (remade) form.append('strength', by('strength').value);
  form.append(isVideo() ? use() : 'input_reference', file, file.name);
  return form;
}
