// Drawings of a job's timeline: the cloth of windows and steps, and what each rank did when.
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 600;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext('2d');
  pen.scale(ratio, ratio);
  pen.font = `11px ${style('--mono')}`;
  return [pen, width];
}

const denoises = (task) => task.kind === 'forward';

// Windows of a static schedule, as the engine lays them.
export function windowCount(request) {
  const overlap = request.overlap < 0 ? 8 : request.overlap;
  const advance = Math.max(1, request.window - overlap);
  return request.frames <= request.window ? 1 : 1 + Math.ceil((request.frames - request.window) / advance);
}

export function drawCloth(canvas, video, timeline) {
  const tasks = timeline.ranks.flatMap(({rank, tasks}) => tasks.map((task) => ({...task, rank})));
  const done = new Map();
  for (const task of tasks) if (denoises(task)) done.set(`${task.window}/${task.step}`, task.rank);
  const windows = Math.max(windowCount(video.request), 1 + Math.max(-1, ...tasks.map((t) => t.window ?? -1)));
  const steps = Math.max(video.request.steps || 0, 1 + Math.max(-1, ...tasks.map((t) => t.step ?? -1)), 1);
  // Of a long video, the part where work is done.
  const newest = Math.max(0, ...tasks.filter(denoises).map((task) => task.window));
  const rows = Math.min(windows, 64), first = Math.max(0, Math.min(newest - 48, windows - rows));
  const cell = Math.max(7, Math.min(22, 420 / rows)), left = 44, top = 20;
  const [pen, width] = prepare(canvas, top + rows * cell + 8);
  const across = (width - left - 8) / steps;
  pen.fillStyle = style('--soft');
  for (let k = 0; k < steps; k += Math.ceil(steps / 12)) pen.fillText(`${k + 1}`, left + k * across + 2, 13);
  for (let row = 0; row < rows; ++row) {
    const y = top + row * cell;
    if (cell >= 11 || row % Math.ceil(11 / cell) === 0) {
      pen.fillStyle = style('--soft');
      pen.fillText(`w${first + row}`, 8, y + cell - 2);
    }
    for (let k = 0; k < steps; ++k) {
      const rank = done.get(`${first + row}/${k}`);
      pen.fillStyle = rank === undefined ? style('--line') : rankColour(rank);
      pen.globalAlpha = rank === undefined ? 0.45 : 1;
      pen.beginPath();
      // A stitch: slanted, so that rows of them look sewn.
      const x = left + k * across, w = across * 0.82, h = cell * 0.66;
      pen.moveTo(x + h * 0.5, y + 1);
      pen.lineTo(x + w, y + 1);
      pen.lineTo(x + w - h * 0.5, y + 1 + h);
      pen.lineTo(x, y + 1 + h);
      pen.fill();
      pen.globalAlpha = 1;
    }
  }
  const part = rows < windows ? ` Windows ${first} to ${first + rows - 1} are shown.` : '';
  const share = `${done.size} of ${windows * steps} evaluations are in the timeline: ${windows} windows, ${steps} steps.${part}`;
  canvas.setAttribute('aria-label', share);
  return share;
}

const kColours = ['#e8573f', '#f2a33a', '#2c9a7e', '#4f7cd8', '#a05fc0', '#c7b02e', '#d0588f', '#58a4b0'];
const rankColour = (rank) => kColours[rank % kColours.length];

export function drawRanks(canvas, timeline) {
  const ranks = timeline.ranks;
  const all = ranks.flatMap(({tasks}) => tasks);
  const [pen, width] = prepare(canvas, 26 + Math.max(1, ranks.length) * 26);
  if (all.length === 0) {
    pen.fillStyle = style('--soft');
    pen.fillText('nothing yet', 12, 20);
    return [];
  }
  const begin = Math.min(...all.map((task) => task.begin)), end = Math.max(...all.map((task) => task.end));
  const span = Math.max(end - begin, 1e-9), left = 44, scale = (width - left - 10) / span;
  ranks.forEach(({rank, tasks}, row) => {
    const y = 6 + row * 26;
    pen.fillStyle = style('--soft');
    pen.fillText(`r${rank}`, 12, y + 14);
    for (const task of tasks) {
      pen.fillStyle = denoises(task) ? rankColour(task.step ?? 0) : task.kind.startsWith('decode') ? style('--done') : style('--ink');
      pen.fillRect(left + (task.begin - begin) * scale, y, Math.max(1, (task.end - task.begin) * scale - 0.5), 19);
    }
  });
  pen.fillStyle = style('--soft');
  const y = 20 + ranks.length * 26;
  for (let i = 0; i <= 4; ++i) {
    const text = `${(span * i / 4).toFixed(span < 10 ? 1 : 0)} s`;
    pen.fillText(text, left + (width - left - 10) * i / 4 - (i === 4 ? pen.measureText(text).width : 0), y);
  }
  return ranks.map(({rank, tasks}) => ({
    rank, tasks: tasks.length,
    busy: `${Math.round(100 * tasks.reduce((sum, task) => sum + task.end - task.begin, 0) / span)} %`,
  }));
}
