// Walks the dashboard in a real browser: signs up, makes a key, adds a provider key, looks at a request, asks in the
// playground, and checks every page for accessibility, policy violations, weight and sideways scrolling, in both themes
// and at three widths.
// Usage: node dashboard.mjs BASE_URL CHROMIUM EMAIL PASSWORD [IMAGES], where EMAIL owns an organization with requests and
// IMAGES is a folder that gets the screenshots of the README.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [base, executablePath, email, password, images] = process.argv.slice(2);
const problems = [];
const expect = (condition, text) => { if (!condition) problems.push(text); };
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
/** Bytes of a first visit, compressed, with everything. */
const PAGE_BYTES_MAX = 100_000;

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
const main = (page) => page.textContent('main');

// The names hold markup: it must come out as text.
const organization = 'Ebb & <b onclick=alert(1)>Flow</b><script>alert(2)</script>';
const keyName = '<img src=x onerror=alert(3)>';

const hello = (secret) => fetch(`${base}/v1/chat/completions`, {
  method: 'POST',
  headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'openai/gpt-5.4-mini', messages: [{ role: 'user', content: 'Hello' }] }),
});

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
  await page.goto(home);
  expect((await main(page)).includes('Send the first request'), 'the overview of a new organization leads nowhere');
  await page.goto(`${home}/start`);
  await page.fill('#name', keyName);
  await page.click('text=Make the key');
  const secret = (await page.textContent('#secret')).trim();
  expect(secret.startsWith('kr-'), 'the new key is not shown');
  await page.goto(`${home}/keys`);
  expect(!(await page.content()).includes(secret), 'the key is shown a second time');
  await page.click('tbody a');
  await page.selectOption('#provider', 'OpenAI');
  await page.fill('#key', 'sk-own-key-of-the-browser-test');
  await page.fill('#label', '=team');
  await page.click('text=Add and test');
  expect((await main(page)).includes('accepts this key'), 'the provider key was not tested');
  expect(!(await page.content()).includes('sk-own-key-of'), 'a provider key is shown');
  const key = page.url().split('?')[0];
  await providerKeys(page, key);
  await rules(page, key);
  const answer = await hello(secret);
  expect(answer.status === 200, `the first call answered ${answer.status}`);
  const details = `${home}/requests/${answer.headers.get('x-kairosroute-receipt')}`;
  // The receipt is written a moment after the answer.
  for (let tries = 0; (await page.goto(details)).status() === 404 && tries < 100; tries += 1) {
    await page.waitForTimeout(100);
  }
  const text = await main(page);
  expect(text.includes('answered from OpenAI on your key “=team”'), `the request says: ${text.slice(0, 300)}`);
  expect(text.includes('name the same charge.'), 'receipt, usage and ledger are not compared');
  await page.goto(`${home}/start`);
  expect((await main(page)).includes('answered from OpenAI'), 'the first answer is not shown at the start');
  await playground(page, home, javaScriptEnabled);
  if (javaScriptEnabled) await live(page, home, secret);
  await settings(page, home);
  await rotation(page, key, secret);
  return { context, page, home, key, details };
}

async function providerKeys(page, key) {
  await page.click('#provider-keys summary >> text=Add a provider key');
  await page.selectOption('#provider', 'OpenAI');
  await page.fill('#key', 'sk-second-key-of-the-browser-test');
  await page.fill('#label', 'spare');
  await page.click('text=Add and test');
  const order = async () => (await page.textContent('#provider-keys tbody')).indexOf('spare');
  const before = await order();
  await page.click('#provider-keys tr:last-child button:has-text("Move up")');
  expect(await order() < before, 'a provider key did not move up');
  await page.click('#provider-keys tr:first-child button:has-text("Disable")');
  expect((await page.textContent('#provider-keys')).includes('disabled'), 'a provider key was not disabled');
  await page.click('#provider-keys tr:first-child summary');
  await page.click('#provider-keys tr:first-child button:has-text("Remove")');
  expect(!(await page.textContent('#provider-keys tbody')).includes('spare'), 'a provider key was not removed');
  await page.goto(key);
}

async function rules(page, key) {
  await page.fill('#allowedModels', 'no-such-model-*');
  await page.fill('#cacheSeconds', 'soon');
  await page.click('text=Save the rules');
  expect((await page.textContent('[role=alert]')).includes('whole number of seconds'), 'a wrong rule is not named');
  await page.goto(key);
  await page.fill('#allowedModels', 'openai/gpt-5.4-mini');
  await page.fill('#budgetUsd', '10');
  await page.fill('#requestsPerMinute', '600');
  await page.click('text=Save the rules');
  expect((await main(page)).includes('Saved.'), 'the rules were not saved');
  expect((await page.textContent('.tiles')).includes('1 of '), 'the rules do not say how many models remain');
  expect((await main(page)).includes('$0.00 of $10.00, resets'), 'the budget does not say what is spent of it');
}

async function settings(page, home) {
  await page.goto(`${home}/settings`);
  await page.fill('#timeZone', 'Nowhere/At-all');
  await page.click('text=Save the settings');
  expect((await page.textContent('[role=alert]')).includes('did not work'), 'a wrong time zone is not named');
  await page.fill('#timeZone', 'Asia/Kathmandu');
  await page.fill('#lowBalanceUsd', '5');
  await page.click('text=Save the settings');
  expect((await main(page)).includes('Saved.'), 'the settings were not saved');
  expect(await page.inputValue('#timeZone') === 'Asia/Kathmandu', 'the time zone was not kept');
}

async function playground(page, home, isScripted) {
  await page.goto(`${home}/playground`);
  await page.fill('#prompt', 'Say <b>hello</b>');
  await page.click('text=Dry run');
  expect((await main(page)).includes('would serve it from OpenAI on your own key'), 'the dry run says nothing');
  await page.fill('#other', 'anthropic/claude-sonnet-4-5');
  await page.click('button:has-text("Send")');
  if (isScripted) await page.waitForSelector('#side-a [data-part=figures]:not([hidden])');
  const figures = await page.textContent('#side-a [data-part=figures]');
  expect(figures.includes('OpenAI'), `the playground shows ${figures}`);
  expect((await page.textContent('#side-a [data-part=text]')).trim() !== '', 'the playground shows no answer');
  if (isScripted) await page.waitForSelector('#side-b [data-part=error]:not([hidden])');
  expect((await page.textContent('#side-b [data-part=error]')).trim() !== '', 'a refused model is not explained');
  expect((await page.getAttribute('#side-a [data-part=why]', 'href')).includes('/requests/rcpt_'), 'no reason is linked');
}

/** A new request appears by itself in a list that is followed. */
async function live(page, home, secret) {
  await page.goto(`${home}/requests`);
  const latest = await page.getAttribute('#requests tbody a', 'href');
  await page.click('[data-live]');
  await hello(secret);
  await page.waitForFunction((known) => document.querySelector('#requests tbody a').getAttribute('href') !== known, latest);
}

async function rotation(page, key, secret) {
  await page.goto(key);
  await page.selectOption('#graceSeconds', '0');
  await page.click('text=Make a new secret');
  const fresh = (await page.textContent('#secret')).trim();
  expect(fresh.startsWith('kr-') && fresh !== secret, 'no new secret is shown');
  const models = (token) => fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  expect((await models(fresh)).status === 200, 'the new secret does not work');
  expect((await models(secret)).status === 401, 'the old secret still works');
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
    for (const path of [key, `${home}/playground/answer`]) {
      const answer = await post(path, form, headers);
      expect(answer.status() === 403, `a form ${what} to ${path.replace(home, '~')} answered ${answer.status()}`);
    }
  }
  const foreign = await context.request.get(`${base}/o/org_00000000000070008000000000000000/keys`);
  expect(foreign.status() === 404, `a foreign organization answered ${foreign.status()}`);
  const operator = await context.request.get(`${base}/operator`);
  expect(operator.status() === 404, `the operator's page answered ${operator.status()}`);
  for (const [path, words] of [['requests?status=nonsense', 'must be one of'], ['usage?group_by=nonsense', 'must be one'],
    ['usage?group_by=day&tz=Nowhere', 'IANA'], ['models?sort=nonsense', 'must be one of'], ['requests?id=x', 'must be the id']]) {
    await page.goto(`${home}/${path}`);
    expect((await main(page)).includes(words), `${path} is not explained`);
  }
}

async function tables({ context, home }) {
  for (const [file, words] of [['requests.csv', 'requestId'], ['usage.csv?group_by=model', 'chargedUsd'],
    ['billing.csv', 'amountUsd'], ['audit.csv', 'action']]) {
    const answer = await context.request.get(`${home}/${file}`);
    const text = await answer.text();
    expect(answer.status() === 200 && text.includes(words), `${file}: ${answer.status()} ${text.slice(0, 80)}`);
    expect(answer.headers()['content-type'].startsWith('text/csv'), `${file} is no CSV`);
    expect(text.split('\r\n').every((line) => !/(^|,)[=+@]/.test(line)), `${file} has a formula`);
  }
}

/** The sums of a page equal those behind it: overview, usage, the ledger. */
async function sums({ page, home }) {
  const charged = async (path, selector) => {
    await page.goto(`${home}${path}`);
    const value = await page.getAttribute(selector, 'title');
    return value;
  };
  const overview = await charged('', '.tile:has-text("Charged") dd span');
  const usage = await charged('/usage', '.tile:has-text("Charged") dd span');
  const byModel = await charged('/usage?group_by=model,byok', '.tile:has-text("Charged") dd span');
  expect(overview === usage && usage === byModel, `charged: overview ${overview}, usage ${usage}, by model ${byModel}`);
  const csv = await (await page.context().request.get(`${home}/requests.csv`)).text();
  const lines = csv.trim().split('\r\n').map((line) => line.split(','));
  const column = lines[0].indexOf('chargedUsd');
  const nano = (text) => { const [whole, part = ''] = text.split('.'); return BigInt(whole + part.padEnd(9, '0')); };
  const sum = lines.slice(1).reduce((sum, line) => sum + nano(line[column]), 0n);
  expect(sum > 0n && sum === nano(usage.replace(/[$,]/g, '')), `requests sum to ${sum}, usage says ${usage}`);
  await page.goto(`${home}/billing`);
  const balance = (await page.textContent('tbody tr:first-child td:last-child')).trim();
  const posted = (await page.textContent('.tile:has-text("sum of all entries") dd')).trim();
  expect(balance === posted, `the balance is ${posted}, after the latest entry ${balance}`);
}

async function look({ context, home, pages }, views) {
  /* A page is judged by axe at the widths of the two themes; at 320 pixels only its layout is. */
  const storageState = await context.storageState();
  for (const [colorScheme, width] of views) {
    const viewport = { width, height: 844 };
    const plain = watched(await (await browser.newContext({ colorScheme, viewport, storageState })).newPage());
    const tested = await (await browser.newContext({ colorScheme, viewport, storageState, bypassCSP: true })).newPage();
    const sizes = new Map();
    plain.on('response', async (response) => {
      try { sizes.set(response.url(), gzipSync(await response.body()).length); } catch { /* a redirect has no body */ }
    });
    for (const address of pages) {
      const where = `${address.replace(home, '~')} ${colorScheme} ${width}`;
      const isMissing = address.endsWith('/nothing-here');
      if (!isMissing) await plain.goto(address, { waitUntil: 'networkidle' });
      const sideways = await plain.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      expect(!sideways, `${where} scrolls sideways`);
      if (width === 320) continue;
      const response = await tested.goto(address);
      if (isMissing) { expect(response.status() === 404, `${where}: ${response.status()}`); continue; }
      expect(response.status() === 200, `${where}: ${response.status()}`);
      const headings = await tested.locator('h1').count();
      expect(headings === 1, `${where} has ${headings} first headings`);
      await tested.evaluate(axe);
      const found = await tested.evaluate(() => globalThis.axe.run({
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      for (const { id, nodes } of found.violations) problems.push(`${where}: ${id}: ${nodes[0].html.slice(0, 160)}`);
    }
    const assets = [...sizes].filter(([url]) => url.includes('/assets/')).reduce((sum, [, size]) => sum + size, 0);
    for (const [url, size] of sizes) {
      expect(size + assets <= PAGE_BYTES_MAX, `${url.replace(home, '~')} weighs ${size} bytes and ${assets} of assets`);
    }
  }
}

/** Logs in as the owner of the organization that has requests. */
async function busy() {
  const context = await browser.newContext();
  const page = watched(await context.newPage());
  await page.goto(`${base}/login`);
  await page.fill('#email', email);
  await page.fill('#password', password);
  await page.click('main button');
  await page.waitForURL(/\/o\//);
  const home = page.url().replace(/\/start$/, '');
  await page.goto(`${home}/requests?fallback=true`);
  expect((await main(page)).includes('fell back'), 'no request fell back to the platform');
  const details = await page.getAttribute('tbody tr:first-child td a', 'href');
  await page.goto(home);
  expect((await page.textContent('.notices')).includes('fell back from your own keys'), 'the fallback is not named on the overview');
  await page.goto(`${home}/keys`);
  const key = await page.getAttribute('tbody tr:last-child th a', 'href');
  return { context, page, home, key: base + key, details: base + details };
}

const allPages = ({ home, key, details }) => [home, `${home}/start`, `${home}/requests`, `${home}/requests?q=gpt&status=completed`,
  details, `${home}/usage`, `${home}/usage?group_by=day,model&measure=requests&compare=previous`, `${home}/usage?group_by=model`,
  `${home}/usage?group_by=provider,byok&tz=Asia/Kathmandu`, `${home}/keys`, key, `${key}/revoke`, `${home}/provider-keys`,
  `${home}/models`, `${home}/models/view?id=gpt-oss-120b`, `${home}/models/view?id=openai/gpt-5.4-mini&id=google/gemini-2.5-flash`,
  `${home}/playground`, `${home}/billing`, `${home}/billing/statements`, `${home}/team`, `${home}/audit`,
  `${home}/settings`, `${base}/me`];

/** The pictures of the documents. */
async function pictures({ context, home, details }) {
  const storageState = await context.storageState();
  for (const [name, address, colorScheme, width, height] of [
    ['request', details, 'light', 1280, 1100], ['requests', `${home}/requests`, 'dark', 1280, 800],
    ['usage', `${home}/usage?group_by=model&by=byok&measure=requests`, 'light', 1280, 1000], ['phone', details, 'dark', 390, 844]]) {
    const page = await (await browser.newContext({ colorScheme, viewport: { width, height }, storageState })).newPage();
    await page.goto(address);
    await page.screenshot({ path: `${images}/${name}.png` });
  }
}

const signedIn = await walk(true);
await refusals(signedIn);
const emptyPages = ['', '/start', '/requests', '/usage', '/usage?group_by=day,model', '/provider-keys', '/billing', '/nothing-here'];
await look({ ...signedIn, pages: [...emptyPages.map((path) => signedIn.home + path), `${base}/login`, `${base}/signup`] },
  [['light', 390]]);
const rich = await busy();
await tables(rich);
await sums(rich);
await look({ ...rich, pages: allPages(rich) }, [['light', 1280], ['dark', 390], ['light', 320]]);
if (images) await pictures(rich);
await walk(false);
await browser.close();
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exit(1);
}
console.log('dashboard: ok');
