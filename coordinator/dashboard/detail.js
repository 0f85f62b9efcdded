// One video: player from its first frames on, progress, windows, ranks, events, settings.
import {ask, duration, isFinal, listen, make, picture, send, stateWord} from './api.js';
import {playGrowing} from './growing.js';
import {drawCloth, drawRanks} from './loom.js';
import * as jobs from './jobs.js';

const by = (id) => document.getElementById(id);
const player = by('player'), still = by('still');
const tabs = [...document.querySelectorAll('[role=tab]')];
let current = null;   // id
let video = null, source = null, playing = false, stopPlaying = () => {}, timer = 0, lastTimeline = {ranks: []};

export const shownId = () => current;

export async function open(id) {
  close(false);
  current = id;
  by('detail').hidden = false;
  document.querySelector('main').classList.add('with-detail');
  by('log').replaceChildren();
  by('detail-title').textContent = 'Video';
  by('detail').focus({preventScroll: true});  // at once: later it would be taken from where it is by then
  let first;
  try {
    first = await ask(`/v1/videos/${id}`);
  } catch (refusal) {
    if (current !== id) return;
    by('detail-title').textContent = 'Not there';
    by('detail-status').textContent = refusal.message;
    return;
  }
  if (current !== id) return;  // another was opened meanwhile
  show(first);
  source = listen(`/v1/videos/${id}/events`, (kind, data) => happened(kind, data));
  timer = setInterval(() => { if (video && !isFinal(video)) drawOpenTab(); }, 2000);
  drawOpenTab();
  by('detail').scrollIntoView({block: 'nearest'});
}

export function close(forget = true) {
  source?.close();
  clearInterval(timer);
  source = video = null;
  playing = false;
  stopPlaying();
  player.removeAttribute('src');
  player.load();
  player.hidden = true;
  still.hidden = true;
  by('no-picture').hidden = false;
  if (!forget) return;
  current = null;
  by('detail').hidden = true;
  document.querySelector('main').classList.remove('with-detail');
}

function happened(kind, data) {
  if (kind === 'video') {
    show(data);
  } else if (kind !== 'end') {
    log(kind, data);
    if (kind === 'progress' && video) {
      show({...video, progress: data.progress, frames_done: data.frames ?? video.frames_done,
            evaluations_done: data.evaluations ?? video.evaluations_done,
            evaluations_total: data.evaluations_total ?? video.evaluations_total});
    } else {
      refresh();
    }
    if (kind === 'segment') play();
    if (kind === 'preview') showStill();
  }
}

let refreshing = 0;
function refresh() {
  if (refreshing) return;
  refreshing = setTimeout(async () => {
    refreshing = 0;
    if (!current) return;
    try { show(await ask(`/v1/videos/${current}`)); } catch { /* deleted: the list says so */ }
  }, 250);
}

// From the first segment on the growing stream plays; of a finished video, the file.
function play() {
  if (!current || playing) return;
  playing = true;
  const whole = `/v1/videos/${current}/content`;
  if (video?.status === 'completed') {
    player.src = whole;
  } else {
    stopPlaying = playGrowing(player, `/v1/videos/${current}/stream`, () => {
      if (video?.status === 'completed') player.src = whole;
      else playing = false;  // the next segment tries again
    });
  }
  player.play().catch(() => {});
}

// Until there is enough to play, the preview stays.
player.addEventListener('loadeddata', () => {
  player.hidden = false;
  still.hidden = true;
  by('no-picture').hidden = true;
});

async function showStill() {
  if (!player.hidden) return;
  const url = await picture(current).catch(() => null);
  if (!url || !player.hidden) return;
  if (still.src) URL.revokeObjectURL(still.src);
  still.src = url;
  still.hidden = false;
  by('no-picture').hidden = true;
}

function show(now) {
  if (now.id !== current) return;
  const before = video;
  video = now;
  jobs.update(now);
  by('detail-title').textContent = now.prompt ?? 'Video';
  by('detail-progress').value = now.status === 'completed' ? 100 : now.progress;
  by('detail-percent').textContent = `${now.status === 'completed' ? 100 : now.progress} %`;
  const status = describe(now);
  if (by('detail-status').textContent !== status) by('detail-status').textContent = status;
  if (now.status === 'completed' || now.frames_done > 0) play();
  if (!before || before.status !== now.status) {
    actions(now);
    facts(now);
    if (isFinal(now)) drawOpenTab();
  }
}

function describe(now) {
  if (now.status === 'queued') return `${stateWord(now)}${now.waiting_for ? `: ${now.waiting_for}` : ''}`;
  if (now.status === 'failed') return `${stateWord(now)}: ${now.error?.message ?? ''}`;
  const parts = [stateWord(now)];
  parts.push(`${now.frames_done} of ${now.request.frames} frames`);
  if (now.frames_per_second !== null) parts.push(`${now.frames_per_second.toFixed(1)} frames/s`);
  if (now.first_frame_seconds !== null) parts.push(`first after ${now.first_frame_seconds.toFixed(1)} s`);
  if (now.status === 'in_progress' && now.seconds_left !== null) parts.push(`${duration(now.seconds_left)} left`);
  if (now.attempt > 1) parts.push(`attempt ${now.attempt}`);
  return parts.join(' · ');
}

function actions(now) {
  const row = by('actions');
  row.replaceChildren();
  const button = (text, run) => {
    const element = make('button', {type: 'button', textContent: text});
    element.onclick = async () => {
      element.disabled = true;
      try { await run(); } catch (refusal) { by('detail-status').textContent = refusal.message; }
      element.disabled = false;
    };
    row.append(element);
  };
  if (!isFinal(now)) button('Cancel', async () => show(await send(`/v1/videos/${now.id}/cancel`, {})));
  if (now.status === 'completed' && !now.content_expired) {
    row.append(make('a', {href: `/v1/videos/${now.id}/content`, download: `${now.id}.mp4`, textContent: 'Download'}));
  }
  if (isFinal(now)) {
    button('Delete', async () => {
      await ask(`/v1/videos/${now.id}`, {method: 'DELETE'});
      jobs.remove(now.id);
      location.hash = '';
    });
  }
}

function facts(now) {
  const rows = [['id', now.id], ['model', now.model], ['size', now.size], ['seconds', now.seconds],
                ['gang', now.gang], ['latents sha256', now.latents_sha256],
                ...Object.entries(now.request).filter(([name]) => !['prompt', 'model', 'width', 'height'].includes(name))];
  by('facts').replaceChildren(...rows.filter(([, value]) => value !== null && value !== '')
      .flatMap(([name, value]) => [make('dt', {textContent: name.replaceAll('_', ' ')}), make('dd', {textContent: `${value}`})]));
}

function log(kind, data) {
  const skip = new Set(['video_id', 'sequence']);
  const text = data.line ?? Object.entries(data).filter(([name]) => !skip.has(name))
      .map(([name, value]) => `${name} ${value}`).join(', ');
  const line = make('li', {}, make('time', {textContent: `#${data.sequence}`}), `${kind}  ${text}`);
  const box = by('log');
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
  box.append(line);
  while (box.children.length > 500) box.firstChild.remove();
  if (atEnd) box.scrollTop = box.scrollHeight;
}

async function drawOpenTab() {
  const name = tabs.find((tab) => tab.getAttribute('aria-selected') === 'true').id;
  if (!current || !video || (name !== 'tab-cloth' && name !== 'tab-ranks')) return;
  const id = current;
  try { lastTimeline = await ask(`/v1/videos/${id}/timeline`); } catch { return; }
  if (id !== current || !video) return;
  if (name === 'tab-cloth') {
    by('cloth-text').textContent = drawCloth(by('cloth'), video, lastTimeline);
  } else {
    const rows = drawRanks(by('ranks'), lastTimeline);
    by('ranks-table').tBodies[0].replaceChildren(...rows.map((row) =>
        make('tr', {}, make('th', {scope: 'row', textContent: row.rank}),
             make('td', {textContent: row.tasks}), make('td', {textContent: row.busy}))));
  }
}

function select(tab, focus) {
  for (const other of tabs) {
    const on = other === tab;
    other.setAttribute('aria-selected', on);
    other.tabIndex = on ? 0 : -1;
    by(other.getAttribute('aria-controls')).hidden = !on;
  }
  if (focus) tab.focus();
  drawOpenTab();
}

for (const tab of tabs) {
  tab.onclick = () => select(tab, false);
  tab.onkeydown = (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (step) select(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], true);
    if (event.key === 'Home') select(tabs[0], true);
    if (event.key === 'End') select(tabs.at(-1), true);
  };
}
addEventListener('resize', () => drawOpenTab());
