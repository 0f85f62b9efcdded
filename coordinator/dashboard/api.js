// The service's API from the page: requests with the key, errors as the service words them, events.
const kCookie = 'seamwright_key';

export class Refused extends Error {
  constructor(status, error) {
    super(error.message || `the service answered ${status}`);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
  }
}

// A cookie, because <video> and EventSource cannot send headers; other sites' pages never bring it.
export function setKey(key) {
  const life = key ? '' : '; max-age=0';
  document.cookie = `${kCookie}=${encodeURIComponent(key)}; path=/; samesite=strict${life}`;
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(0, {message: 'the service cannot be reached', code: 'unreachable'});
  }
  const body = response.headers.get('content-type')?.includes('json') ? await response.json() : null;
  if (!response.ok) throw new Refused(response.status, body?.error ?? {});
  return body;
}

// JSON, or a form as it is: the browser then says where its parts end.
export function send(path, body) {
  const headers = {'idempotency-key': crypto.randomUUID?.() ?? `${Math.random()}`};
  if (body instanceof FormData) return ask(path, {method: 'POST', headers, body});
  headers['content-type'] = 'application/json';
  return ask(path, {method: 'POST', headers, body: JSON.stringify(body)});
}

// A picture as an object URL, or null when there is none yet.
export async function picture(id) {
  const response = await fetch(`/v1/videos/${id}/content?variant=thumbnail`, {cache: 'no-cache'});
  return response.ok ? URL.createObjectURL(await response.blob()) : null;
}

const kKinds = ['state', 'progress', 'preview', 'segment', 'attempt', 'log', 'video', 'end'];

export function listen(path, handler, broken = () => {}) {
  const source = new EventSource(path);
  for (const kind of kKinds) {
    source.addEventListener(kind, (event) => {
      if (kind === 'end') source.close();
      handler(kind, JSON.parse(event.data));
    });
  }
  source.onerror = () => broken(source);
  return source;
}

export const isFinal = (video) => video.status === 'completed' || video.status === 'failed';

const kWords = {queued: 'queued', in_progress: 'in the making', completed: 'finished', failed: 'failed'};
export function stateWord(video) {
  if (video.error?.code === 'cancelled') return 'cancelled';
  if (video.status === 'queued' && video.queue_position !== null) {
    return video.queue_position === 0 ? 'next in line' : `${video.queue_position} before it`;
  }
  return kWords[video.status] ?? video.status;
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds)), minutes = Math.round(s / 60);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min` + (s % 60 ? ` ${s % 60} s` : '');
  return `${Math.floor(minutes / 60)} h` + (minutes % 60 ? ` ${minutes % 60} min` : '');
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== 'list') element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
