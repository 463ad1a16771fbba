// Walks the dashboard in a real browser: signs up, makes a key, adds a provider key, looks at a request, and checks
// every page for accessibility, policy violations and sideways scrolling, in both themes and at two widths.
// Usage: node dashboard.mjs BASE_URL CHROMIUM
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [base, executablePath] = process.argv.slice(2);
const problems = [];
const expect = (condition, text) => { if (!condition) problems.push(text); };
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });

const watched = (page) => {
  page.on('console', (message) => {
    // A page that answers 404 or 422 is logged as well; the walk judges those itself.
    const isPage = message.text().startsWith('Failed to load resource') && !message.location().url.includes('/assets/');
    if (message.type() === 'error' && !isPage) problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`script: ${error.message}`));
  page.on('dialog', (dialog) => { problems.push(`a script ran: ${dialog.message()}`); dialog.dismiss(); });
  return page;
};

// The names hold markup: it must come out as text.
const organization = 'Ebb & <b onclick=alert(1)>Flow</b><script>alert(2)</script>';
const keyName = '<img src=x onerror=alert(3)>';

async function walk(javaScriptEnabled) {
  const context = await browser.newContext({ javaScriptEnabled });
  const page = watched(await context.newPage());
  await page.goto(`${base}/`);
  expect(page.url().endsWith('/login'), `/ leads to ${page.url()}`);
  await page.click('text=Sign up');
  await page.fill('#email', `person-${javaScriptEnabled}@example.com`);
  await page.fill('#password', 'tide tables 1871 are dry');
  await page.fill('#organization', organization);
  await page.click('button');
  expect(page.url().endsWith('/start'), `signing up leads to ${page.url()}`);
  const home = page.url().replace(/\/start$/, '');
  await page.fill('#name', keyName);
  await page.click('text=Make the key');
  const secret = (await page.textContent('#secret')).trim();
  expect(secret.startsWith('kr-'), 'the new key is not shown');
  await page.goto(`${home}/keys`);
  expect(!(await page.content()).includes(secret), 'the key is shown a second time');
  await page.click('tbody a');
  await page.selectOption('#provider', 'OpenAI');
  await page.fill('#key', 'sk-own-key-of-the-browser-test');
  await page.click('text=Add and test');
  expect((await page.textContent('main')).includes('accepts this key'), 'the provider key was not tested');
  expect(!(await page.content()).includes('sk-own-key-of'), 'a provider key is shown');
  const key = page.url().split('?')[0];
  const answer = await fetch(`${base}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'openai/gpt-5.4-mini', messages: [{ role: 'user', content: 'Hello' }] }),
  });
  expect(answer.status === 200, `the first call answered ${answer.status}`);
  const receipt = answer.headers.get('x-kairosroute-receipt');
  const details = `${home}/requests/${receipt}`;
  // The receipt is written a moment after the answer.
  for (let tries = 0; (await page.goto(details)).status() === 404 && tries < 100; tries += 1) {
    await page.waitForTimeout(100);
  }
  const text = await page.textContent('main');
  expect(text.includes('answered from OpenAI on your own key'), `the request says: ${text.slice(0, 300)}`);
  expect(text.includes('name the same charge.'), 'receipt, usage and ledger are not compared');
  await page.goto(`${home}/start`);
  expect((await page.textContent('main')).includes('answered from OpenAI'), 'the first answer is not shown at the start');
  return { context, page, home, key, details };
}

async function refusals({ context, page, home, key }) {
  const token = await page.evaluate(() => document.querySelector('[name=form_token]').value);
  const post = (path, form, headers) => context.request.post(path, { form, headers, maxRedirects: 0 });
  const sameOrigin = { 'sec-fetch-site': 'same-origin' };
  const forms = [
    ['without a token', { action: 'x' }, sameOrigin],
    ['with a wrong token', { form_token: 'ab'.repeat(64) }, sameOrigin],
    ['from another site', { form_token: token }, { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
    ['from nowhere', { form_token: token }, {}],
  ];
  for (const [what, form, headers] of forms) {
    const answer = await post(key, form, headers);
    expect(answer.status() === 403, `a form ${what} answered ${answer.status()}`);
  }
  const foreign = await context.request.get(`${base}/o/org_00000000000070008000000000000000/keys`);
  expect(foreign.status() === 404, `a foreign organization answered ${foreign.status()}`);
  const operator = await context.request.get(`${base}/operator`);
  expect(operator.status() === 404, `the operator's page answered ${operator.status()}`);
  await page.goto(`${home}/requests?status=nonsense`);
  expect((await page.textContent('main')).includes('must be one of'), 'an unknown filter is not named');
}

async function look({ context, home, key, details }) {
  const pages = [home, `${home}/start`, `${home}/requests`, details, `${home}/usage`, `${home}/usage?group_by=model`,
    `${home}/keys`, key, `${key}/revoke`, `${home}/models`, `${home}/billing`, `${home}/billing/statements`, `${home}/team`, `${base}/me`,
    `${base}/login`, `${base}/signup`, `${home}/nothing-here`];
  const storageState = await context.storageState();
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390], ['light', 320]]) {
    const viewport = { width, height: 844 };
    const plain = watched(await (await browser.newContext({ colorScheme, viewport, storageState })).newPage());
    const tested = await (await browser.newContext({ colorScheme, viewport, storageState, bypassCSP: true })).newPage();
    for (const address of pages) {
      const where = `${address.replace(home, '~')} ${colorScheme} ${width}`;
      const isMissing = address.endsWith('/nothing-here');
      if (!isMissing) await plain.goto(address);
      const sideways = await plain.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      expect(!sideways, `${where} scrolls sideways`);
      const response = await tested.goto(address);
      if (isMissing) { expect(response.status() === 404, `${where}: ${response.status()}`); continue; }
      await tested.evaluate(axe);
      const found = await tested.evaluate(() => globalThis.axe.run({
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      for (const { id, nodes } of found.violations) problems.push(`${where}: ${id}: ${nodes[0].html.slice(0, 160)}`);
    }
  }
}

const signedIn = await walk(true);
await refusals(signedIn);
await look(signedIn);
await walk(false);
await browser.close();
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exit(1);
}
console.log('dashboard: ok');
