// The list of videos: cards that update in place.
import {ask, duration, isFinal, make, picture, stateWord} from './api.js';

const list = document.getElementById('jobs');
const cards = new Map();  // id -> {video, parts}
let oldest = null;

function build(video) {
  const image = make('img', {alt: '', hidden: true});
  const blank = make('span', {textContent: 'no frames yet'});
  const link = make('a', {href: `#video=${video.id}`});
  const badge = make('span'), right = make('span'), why = make('p', {className: 'why'});
  const progress = make('progress', {max: 100});
  const card = make('li', {className: 'job'},
      make('div', {className: 'pic'}, image, blank),
      make('div', {className: 'body'}, link, make('div', {className: 'state'}, badge, right),
           progress, why));
  return {card, image, blank, link, badge, right, progress, why, pictured: ''};
}

function fill(parts, video) {
  parts.link.textContent = video.prompt ?? '(no prompt)';
  parts.badge.className = `badge ${video.status}`;
  parts.badge.textContent = stateWord(video);
  parts.progress.hidden = isFinal(video);
  parts.progress.value = video.progress;
  parts.progress.setAttribute('aria-label', `Progress of ${video.prompt}`);
  parts.right.textContent = video.status === 'in_progress'
      ? video.seconds_left !== null ? `${duration(video.seconds_left)} left` : `${video.progress} %`
      : `${Number(video.seconds).toFixed(video.seconds.includes('.') ? 1 : 0)} s · ${video.size}`;
  const reason = video.status === 'failed' ? video.error?.message : video.waiting_for;
  parts.why.textContent = reason ? (video.status === 'failed' ? reason : `Waits: ${reason}`) : '';
}

export async function showPicture(id) {
  const entry = cards.get(id);
  if (!entry) return;
  const url = await picture(id).catch(() => null);
  if (!url) return;
  if (entry.parts.image.src) URL.revokeObjectURL(entry.parts.image.src);
  entry.parts.image.src = url;
  entry.parts.image.hidden = false;
  entry.parts.blank.hidden = true;
}

function place(video, first) {
  let entry = cards.get(video.id);
  if (!entry) {
    entry = {parts: build(video)};
    cards.set(video.id, entry);
    if (first) list.prepend(entry.parts.card);
    else list.append(entry.parts.card);
  }
  entry.video = video;
  fill(entry.parts, video);
  // Before the end, events say when there is a new picture.
  if (video.status === 'completed' && entry.parts.pictured !== video.status) {
    entry.parts.pictured = video.status;
    showPicture(video.id);
  }
  document.getElementById('no-jobs').hidden = cards.size > 0;
}

export function update(video) { place(video, true); }

export function remove(id) {
  cards.get(id)?.parts.card.remove();
  cards.delete(id);
  document.getElementById('no-jobs').hidden = cards.size > 0;
}

export async function load(more = false) {
  const page = await ask(`/v1/videos?limit=24${more && oldest ? `&after=${oldest}` : ''}`);
  for (const video of page.data) place(video, false);
  if (page.last_id) oldest = page.last_id;
  document.getElementById('older').hidden = !page.has_more;
  document.getElementById('no-jobs').hidden = cards.size > 0;
  return page.data;
}

export const openIds = () => [...cards.values()].filter(({video}) => !isFinal(video)).map(({video}) => video.id);
export const known = (id) => cards.get(id)?.video;

export function counts() {
  const all = [...cards.values()].map(({video}) => video.status);
  const number = (state) => all.filter((status) => status === state).length;
  return `${number('in_progress')} in the making, ${number('queued')} waiting`;
}
