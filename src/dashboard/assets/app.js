// Comfort for pages that work without it: copying, times in the viewer's zone, the theme, and waiting for the first
// request. It never handles money and never inserts HTML.
'use strict';
(() => {
  const root = document.documentElement;
  const status = document.getElementById('status');
  const say = (text) => { if (status) status.textContent = text; };

  const saved = localStorage.getItem('kr-theme');
  if (saved) root.dataset.theme = saved;
  for (const button of document.querySelectorAll('[data-set-theme]')) {
    button.hidden = false;
    button.addEventListener('click', () => {
      const theme = button.dataset.setTheme;
      if (theme === 'auto') { delete root.dataset.theme; localStorage.removeItem('kr-theme'); }
      else { root.dataset.theme = theme; localStorage.setItem('kr-theme', theme); }
      say(`Theme: ${theme}`);
    });
  }

  for (const button of document.querySelectorAll('[data-copy]')) {
    button.hidden = false;
    button.addEventListener('click', async () => {
      const source = document.getElementById(button.dataset.copy);
      if (!source) return;
      const range = document.createRange();
      range.selectNodeContents(source);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      try {
        await navigator.clipboard.writeText(source.textContent.trim());
        say('Copied');
      } catch {
        say(document.execCommand('copy') ? 'Copied' : 'Selected: press Ctrl+C to copy');
      }
    });
  }

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const time of document.querySelectorAll('time[datetime]')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.title = `${time.textContent} (shown in ${zone})`;
    time.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  }

  // The page waits for the first request of a new key by asking for itself again.
  const waiting = document.querySelector('[data-reload-ms]');
  if (waiting) setTimeout(() => location.reload(), Number(waiting.dataset.reloadMs));
})();
