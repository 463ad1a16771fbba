// Comfort for pages that work without it: copying, times in the viewer's zone, the theme, live rows, and answers of the
// playground as they come. It never does arithmetic on money and never inserts text as HTML.
'use strict';
(() => {
  const root = document.documentElement;
  const status = document.getElementById('status');
  const say = (text) => { if (status) status.textContent = text; };
  const each = (selector, visit) => document.querySelectorAll(selector).forEach(visit);

  const saved = localStorage.getItem('kr-theme');
  if (saved) root.dataset.theme = saved;
  each('[data-set-theme]', (button) => {
    button.hidden = false;
    button.addEventListener('click', () => {
      const theme = button.dataset.setTheme;
      if (theme === 'auto') { delete root.dataset.theme; localStorage.removeItem('kr-theme'); }
      else { root.dataset.theme = theme; localStorage.setItem('kr-theme', theme); }
      say(`Theme: ${theme}`);
    });
  });

  // Plain http has no clipboard: there the text is selected.
  const copy = async (text, source) => {
    if (source) {
      const range = document.createRange();
      range.selectNodeContents(source);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
    }
    try { await navigator.clipboard.writeText(text); say('Copied'); }
    catch { say(source && document.execCommand('copy') ? 'Copied' : 'Selected: press Ctrl+C to copy'); }
  };
  each('[data-copy]', (button) => {
    button.hidden = false;
    button.addEventListener('click', () => {
      const source = document.getElementById(button.dataset.copy);
      if (source) copy(source.textContent.trim(), source);
    });
  });
  each('[data-copy-address]', (button) => {
    button.hidden = false;
    button.addEventListener('click', () => copy(location.href, null));
  });

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const showTimes = (within) => within.querySelectorAll('time[datetime]').forEach((time) => {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) return;
    time.title = `${time.textContent} (shown in ${zone})`;
    const isToday = at.toDateString() === new Date().toDateString();
    time.textContent = 'short' in time.dataset && isToday ? at.toLocaleTimeString()
      : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  });
  showTimes(document);
  each('[data-zone-for]', (button) => {
    button.hidden = false;
    button.addEventListener('click', () => { document.getElementById(button.dataset.zoneFor).value = zone; say(zone); });
  });

  // The page waits for the first request of a new key by asking for itself again.
  const waiting = document.querySelector('[data-reload-ms]');
  if (waiting) setTimeout(() => location.reload(), Number(waiting.dataset.reloadMs));

  // A part of the page is asked for again while it is followed. What comes is a page of this server.
  const policy = globalThis.trustedTypes ? trustedTypes.createPolicy('kr', { createHTML: (html) => html }) : null;
  each('[data-live]', (button) => {
    let timer = 0;
    const part = () => document.getElementById(button.dataset.live);
    const refresh = async () => {
      try {
        const html = await (await fetch(location.href)).text();
        const page = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html');
        const fresh = page.getElementById(button.dataset.live);
        if (fresh && fresh.textContent !== part().dataset.seen) {
          const seen = fresh.textContent;
          part().replaceWith(document.adoptNode(fresh));
          part().dataset.seen = seen;
          showTimes(part());
        }
      } catch { say('The newest rows could not be read'); }
    };
    button.hidden = false;
    button.setAttribute('aria-pressed', 'false');
    button.addEventListener('click', () => {
      const on = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(on));
      button.textContent = on ? 'Stop following' : 'Follow live';
      say(on ? 'New requests appear by themselves' : 'Stopped');
      clearInterval(timer);
      if (on) { timer = setInterval(refresh, 2000); refresh(); }
    });
  });

  // The playground: both answers as they come.
  const form = document.getElementById('playground');
  if (form && globalThis.ReadableStream) {
    const stop = document.getElementById('stop');
    let running = null;
    const figure = (list, name, value) => {
      const row = document.createElement('div');
      const term = document.createElement('dt');
      const text = document.createElement('dd');
      term.textContent = name;
      text.textContent = value;
      row.append(term, text);
      list.append(row);
    };
    const run = async (side, model, signal) => {
      const box = document.getElementById(`side-${side}`);
      box.hidden = !model;
      if (!model) return;
      const part = (name) => box.querySelector(`[data-part=${name}]`);
      part('text').hidden = false;
      if (part('plan')) part('plan').hidden = true;
      box.querySelector('h2').textContent = model;
      for (const name of ['error', 'figures', 'why']) part(name).hidden = true;
      part('text').textContent = '';
      const body = new URLSearchParams(new FormData(form));
      body.set('model', model);
      const began = performance.now();
      let first = 0, charged = '', output = 0;
      const show = (chunk, raw) => {
        const delta = chunk.choices && chunk.choices[0] && chunk.choices[0].delta;
        const calls = (delta && delta.tool_calls) || [];
        const text = ((delta && delta.content) || '') + calls.map((call) => {
          const made = call.function || {};
          return (made.name ? `\n${made.name} ` : '') + (made.arguments || '');
        }).join('');
        if (text && !first) first = performance.now();
        part('text').append(text);
        if (chunk.usage) output = chunk.usage.completion_tokens || 0;
        const found = /"charged_usd":\s*([0-9.eE+-]+)/.exec(raw);
        if (found) charged = found[1];
        if (chunk.error) throw new Error(chunk.error.message);
      };
      try {
        const response = await fetch(`${form.getAttribute('action')}/answer`, { method: 'POST', body, signal });
        const receipt = response.headers.get('x-kairosroute-receipt');
        if (receipt) { part('why').href = form.dataset.requests + receipt; part('why').hidden = false; }
        if (!response.ok) {
          const text = await response.text();
          let message = text.startsWith('{') ? JSON.parse(text).error.message : '';
          throw new Error(message || `The server answered ${response.status}; reload the page`);
        }
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let kept = '';
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          kept += value;
          const lines = kept.split('\n');
          kept = lines.pop();
          for (const line of lines) {
            if (line.startsWith('data: {')) show(JSON.parse(line.slice(6)), line);
          }
        }
        const ended = performance.now();
        const list = part('figures');
        list.replaceChildren();
        figure(list, 'Served by', response.headers.get('x-kairosroute-model') || model);
        figure(list, 'Provider', response.headers.get('x-kairosroute-provider') || '');
        if (charged) figure(list, 'Charged', `$${charged}`);
        figure(list, 'First content', `${Math.round((first || ended) - began)} ms`);
        figure(list, 'In all', `${Math.round(ended - began)} ms`);
        if (output && first && ended - first > 50) figure(list, 'Tokens/s', String(Math.round(output * 1000 / (ended - first))));
        list.hidden = false;
      } catch (error) {
        part('error').textContent = error.name === 'AbortError' ? 'Stopped.' : error.message;
        part('error').hidden = false;
      }
    };
    const send = async (event) => {
      if (event.submitter && event.submitter.value === 'plan') return;
      event.preventDefault();
      if (running) running.abort();
      running = new AbortController();
      stop.hidden = false;
      say('Asking');
      await Promise.all([run('a', form.elements.model.value, running.signal), run('b', form.elements.other.value, running.signal)]);
      stop.hidden = true;
      say('Answered');
    };
    form.addEventListener('submit', send);
    stop.addEventListener('click', () => running && running.abort());
  }
})();
