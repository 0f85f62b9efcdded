// The page: form, list, cluster, health; opens a video by the address's #video=ID.
import {ask, duration, listen, make, send, setKey, stateWord} from './api.js';
import * as detail from './detail.js';
import * as given from './given.js';
import * as jobs from './jobs.js';

const by = (id) => document.getElementById(id);
const kExamples = [['star over the sea', 'a blue star bouncing up and down over the sea at sunset'],
                   ['square in the desert', 'a yellow square moving left to right over desert dunes at day'],
                   ['triangle at dawn', 'a green triangle moving in circles over snowy mountains at dawn']];
// Field, label, kind; choices come from the service's own document.
const kMore = [['size', 'Size', 'text', 'model’s own'], ['fps', 'Frames a second', 'number', '8'],
               ['steps', 'Steps', 'number', 'model’s own'], ['guidance', 'Guidance', 'number', 'model’s own'],
               ['seed', 'Seed', 'number', '0'], ['overlap', 'Overlap', 'number', 'default'],
               ['coherence', 'Coherence', 'choice'], ['fuse', 'Fusion', 'choice'], ['noise', 'Noise', 'choice'],
               ['order', 'Order', 'choice'], ['precision', 'Precision', 'choice'],
               ['negative_prompt', 'Avoid', 'text', '']];

function buildForm(schema) {
  by('examples').append(...kExamples.map(([name, text]) => {
    const chip = make('button', {type: 'button', textContent: name, title: text});
    chip.onclick = () => { by('prompt').value = text; by('prompt').focus(); };
    return chip;
  }));
  for (const [name, label, kind, hint] of kMore) {
    let input;
    if (kind === 'choice') {
      input = make('select', {id: name, name});
      const choices = schema?.properties?.[name]?.enum ?? [];
      input.append(make('option', {value: '', textContent: 'default'}),
                   ...choices.filter(Boolean).map((value) => make('option', {value, textContent: value})));
    } else {
      input = make('input', {id: name, name, type: kind, placeholder: hint ?? ''});
      if (kind === 'number') input.step = 'any';
    }
    input.setAttribute('aria-describedby', `${name}-error`);
    by('more').append(make('div', {}, make('label', {htmlFor: name, textContent: label}), input,
                           make('p', {className: 'error', id: `${name}-error`, 'data-error': name})));
  }
  given.begin();
  const seconds = by('seconds');
  const tell = () => { by('seconds-text').value = duration(Number(seconds.value)); };
  seconds.oninput = tell;
  tell();
}

async function loadModels() {
  const {data} = await ask('/v1/models');
  by('model').replaceChildren(...data.map(({id}) => make('option', {value: id, textContent: id})));
  const quick = data.find(({id}) => id.endsWith('few_step'));
  if (quick) by('model').value = quick.id;
}

function showErrors(refusal) {
  for (const place of document.querySelectorAll('[data-error]')) place.textContent = '';
  for (const field of by('form').elements) field.removeAttribute('aria-invalid');
  if (!refusal) return;
  const place = document.querySelector(`[data-error~="${CSS.escape(refusal.param ?? '')}"]`) ?? by('form-error');
  place.textContent = refusal.message;
  const field = place.id === 'given-error' ? by('given') : by('form').elements[refusal.param];
  if (!field) return;
  field.setAttribute('aria-invalid', 'true');
  field.closest('details')?.setAttribute('open', '');
  field.focus();
}

by('form').onsubmit = async (event) => {
  event.preventDefault();
  showErrors(null);
  const body = {prompt: by('prompt').value, model: by('model').value, seconds: by('seconds').value};
  for (const [name, , kind] of kMore) {
    const value = by(name).value.trim();
    if (value) body[name] = kind === 'number' ? Number(value) : value;
  }
  if (!body.model) delete body.model;
  const button = by('form').querySelector('.primary');
  button.disabled = true;
  try {
    const video = await send('/v1/videos', given.withFile(body));
    jobs.update(video);
    announce(`accepted: ${video.prompt}`);
    location.hash = `video=${video.id}`;
  } catch (refusal) {
    showErrors(refusal);
    if (refusal.status === 401) askForKey();
  }
  button.disabled = false;
};

function announce(text) { by('announce').textContent = text; }

function follow() {
  const dirty = new Set();
  let due = 0;
  const flush = async () => {
    due = 0;
    const ids = [...dirty].slice(0, 8);
    ids.forEach((id) => dirty.delete(id));
    await Promise.all(ids.filter((id) => id !== detail.shownId()).map(async (id) => {
      try { jobs.update(await ask(`/v1/videos/${id}`)); } catch (refusal) { if (refusal.status === 404) jobs.remove(id); }
    }));
    by('counts').textContent = jobs.counts();
    if (dirty.size) due = setTimeout(flush, 500);
  };
  listen('/v1/events', (kind, data) => {
    if (kind === 'preview') jobs.showPicture(data.video_id);
    if (kind === 'state') {
      loadCluster();
      const state = data.state ?? data.status;
      if (state === 'completed' || state === 'failed') announce(`${jobs.known(data.video_id)?.prompt ?? 'a video'}: ${stateWord({status: state, queue_position: null})}`);
    }
    dirty.add(data.video_id);
    if (!due) due = setTimeout(flush, 500);
  });
  // What is queued changes place without events of its own.
  setInterval(() => { jobs.openIds().forEach((id) => dirty.add(id)); if (!due) flush(); }, 5000);
}

async function loadCluster() {
  let cluster;
  try { cluster = await ask('/v1/cluster'); } catch { return; }
  const gangs = cluster.gangs ?? [];
  by('gangs').replaceChildren(...gangs.map((gang) => {
    const layout = typeof gang.layout === 'string' ? gang.layout : Object.entries(gang.layout ?? {}).map(([name, value]) => `${name} ${value}`).join(', ');
    const lines = [make('strong', {textContent: `${gang.id ?? gang.name} `}), make('span', {textContent: gang.state}), make('br')];
    lines.push([layout, (gang.hosts ?? []).join(' '), gang.version].filter(Boolean).join(' · '));
    if (gang.job) {
      lines.push(make('br'), make('a', {href: `#video=${gang.job}`, textContent: 'its video'}),
                 ` · attempt ${gang.attempt} · ${gang.phase ?? ''}`);
    }
    return make('li', {className: gang.state}, ...lines);
  }));
  if (gangs.length === 0) by('gangs').replaceChildren(make('li', {className: 'lost', textContent: 'No gang is connected: jobs wait.'}));
}

async function loadHealth() {
  const place = by('health');
  try {
    const response = await fetch('/readyz');
    const {reasons} = await response.json();
    place.className = `health ${response.ok ? 'good' : 'bad'}`;
    const text = response.ok ? 'ready' : reasons.join('; ');
    if (place.textContent !== text) place.textContent = text;
  } catch {
    place.className = 'health bad';
    place.textContent = 'the service cannot be reached';
  }
}

function askForKey() { by('key-dialog').showModal(); }
by('key-button').onclick = askForKey;
by('key-form').onsubmit = (event) => {
  if (event.submitter?.value !== 'save') return;
  setKey(by('key').value);
  location.reload();
};
by('close').onclick = () => { location.hash = ''; by('prompt').focus(); };
by('older').onclick = () => jobs.load(true);

function route() {
  const id = new URLSearchParams(location.hash.slice(1)).get('video');
  if (id && id !== detail.shownId()) detail.open(id);
  if (!id) detail.close();
}
addEventListener('hashchange', route);
addEventListener('keydown', (event) => { if (event.key === 'Escape' && detail.shownId() && !by('key-dialog').open) location.hash = ''; });

async function begin() {
  const document_ = await ask('/openapi.json').catch(() => null);
  buildForm(document_?.components?.schemas?.CreateVideo);
  loadHealth();
  setInterval(loadHealth, 5000);
  setInterval(loadCluster, 5000);
  try {
    await Promise.all([loadModels(), jobs.load(), loadCluster()]);
  } catch (refusal) {
    if (refusal.status === 401) return askForKey();
    by('form-error').textContent = refusal.message;
  }
  by('counts').textContent = jobs.counts();
  follow();
  route();
}
begin();
