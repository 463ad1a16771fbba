// Walks the operator's pages and a person's own account in a real browser: a customer is created, credited, suspended and
// resumed; a platform key is stored and tested; two-factor sign-in is switched on and asked for. Every page is checked for
// accessibility and sideways scrolling.
// Usage: node accounts.mjs BASE_URL CHROMIUM OPERATOR_EMAIL PASSWORD
import { createRequire } from 'node:module';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';

const require = createRequire(process.env.NODE_MODULES_OF ?? import.meta.url);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const [base, executablePath, operatorEmail, password] = process.argv.slice(2);
const problems = [];
const expect = (condition, text) => { if (!condition) problems.push(text); };
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });

const watched = (page) => {
  page.on('console', (message) => {
    const isPage = message.text().startsWith('Failed to load resource') && !message.location().url.includes('/assets/');
    if (message.type() === 'error' && !isPage) problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`script: ${error.message}`));
  page.on('dialog', (dialog) => { problems.push(`a script ran: ${dialog.message()}`); dialog.dismiss(); });
  return page;
};

const logIn = async (page, email) => {
  await page.goto(`${base}/login`);
  await page.fill('#email', email);
  await page.fill('#password', password);
  await page.click('main button');
};

// RFC 6238, with a secret in base32.
const totp = (secret, steps) => {
  const bits = [...secret].map((digit) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(digit).toString(2).padStart(5, '0'));
  const key = Buffer.from(bits.join('').match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + steps));
  const hash = createHmac('sha1', key).update(counter).digest();
  const offset = hash[19] & 15;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1000000).padStart(6, '0');
};

async function look(context, pages) {
  const storageState = await context.storageState();
  for (const [colorScheme, width] of [['light', 1280], ['dark', 390]]) {
    const options = { colorScheme, viewport: { width, height: 844 }, storageState, bypassCSP: true };
    const page = await (await browser.newContext(options)).newPage();
    for (const address of pages) {
      const where = `${address.replace(base, '')} ${colorScheme} ${width}`;
      const response = await page.goto(address);
      expect(response.status() === 200, `${where}: ${response.status()}`);
      expect(!await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), `${where} scrolls sideways`);
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run({
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      for (const { id, nodes } of found.violations) problems.push(`${where}: ${id}: ${nodes[0].html.slice(0, 160)}`);
    }
  }
}

async function operate() {
  const context = await browser.newContext();
  const page = watched(await context.newPage());
  await logIn(page, operatorEmail);
  expect(page.url() === `${base}/operator`, `the operator's log-in leads to ${page.url()}`);
  const name = '<b onclick=alert(1)>Customer</b>';
  await page.fill('#name', name);
  await page.fill('#ownerEmail', 'owner@example.com');
  await page.click('text=Create and invite');
  const link = (await page.textContent('#link')).trim();
  expect(link.includes('/invite/kri_'), 'the invitation is not shown');
  await page.goto(`${base}/operator?search=customer`);
  expect(!(await page.content()).includes('kri_'), 'the invitation is shown a second time');
  await page.click('tbody a');
  const customer = page.url();
  await page.selectOption('#kind', 'grant');
  await page.fill('#amountUsd', '12.5');
  await page.click('text=Post the entry');
  expect(page.url() === customer, 'an entry without a reason was posted');
  await page.fill('#reason', 'welcome');
  await page.click('text=Post the entry');
  expect((await page.textContent('main')).includes('$12.50'), 'the credit is not shown');
  await page.fill('#suspensionReason', 'unpaid');
  await page.click('text=Suspend the organization');
  expect((await page.textContent('main')).includes('Suspended: unpaid'), 'the suspension is not shown');
  await page.click('text=Resume the organization');
  await page.goto(`${base}/operator/providers`);
  const openai = page.locator('tr', { has: page.locator('th', { hasText: /^OpenAI$/ }) });
  await openai.locator('summary').click();
  await openai.locator('input[name=key]').fill('sk-platform-key-of-the-browser');
  await openai.locator('text=Store the key').click();
  expect(!(await page.content()).includes('sk-platform-key'), 'a platform key is shown');
  await page.getByLabel('Test the key of OpenAI').click();
  expect((await page.textContent('main')).includes('The key of OpenAI works'), 'the platform key was not tested');
  await page.goto(`${base}/operator/system`);
  await page.click('text=Audit now');
  expect((await page.textContent('main')).includes('Every invariant held'), 'the audit says nothing');
  await page.goto(`${base}/operator/audit?action=organization`);
  expect((await page.textContent('main')).includes('organization.suspend'), 'the audit log is empty');
  await look(context, [`${base}/operator`, customer, `${base}/operator/providers`, `${base}/operator/revenue`,
    `${base}/operator/operators`, `${base}/operator/audit`, `${base}/operator/system`, `${base}/me`]);
  const foreign = await context.request.get(`${base}/o/org_00000000000000000000000000000000`);
  expect(foreign.status() === 404, `an operator opens an organization: ${foreign.status()}`);
  return link;
}

async function belong(link) {
  const context = await browser.newContext();
  const page = watched(await context.newPage());
  await page.goto(new URL(new URL(link).pathname, base).href);
  await page.fill('#email', 'owner@example.com');
  await page.fill('#password', password);
  await page.click('main button');
  expect(page.url().endsWith('/start'), `accepting an invitation leads to ${page.url()}`);
  await page.goto(`${base}/me`);
  await page.fill('#name', 'Another organization');
  await page.click('text=Create it');
  expect(/\/o\/org_[0-9a-f]{32}$/.test(page.url()), `creating an organization leads to ${page.url()}`);
  await page.goto(`${base}/me`);
  await page.fill('#factor-password', password);
  await page.click('text=Set it up');
  const secret = (await page.textContent('#secret')).trim();
  await page.fill('#code', totp(secret, -1));
  await page.click('text=Switch it on');
  const codes = (await page.textContent('#codes')).trim().split('\n');
  expect(codes.length === 10, `${codes.length} recovery codes`);
  await page.goto(`${base}/me`);
  expect(!(await page.content()).includes(codes[0]), 'recovery codes are shown a second time');
  await look(context, [`${base}/me`, `${base}/forgot`, `${base}/login`]);
  await page.click('text=Log out');
  await logIn(page, 'owner@example.com');
  expect((await page.textContent('h1')) === 'Enter a code', 'no code is asked for');
  await page.fill('#code', '000000');
  await page.click('main button');
  expect((await page.textContent('main')).includes('wrong or was used'), 'a wrong code is not named');
  await page.fill('#code', codes[0]);
  await page.click('main button');
  expect(/\/o\/org_/.test(page.url()), `the second step leads to ${page.url()}`);
  const forged = { form: { email: 'x@example.com' }, headers: { 'sec-fetch-site': 'cross-site' } };
  const refused = await context.request.post(`${base}/forgot`, forged);
  expect(refused.status() === 403, `a form from another site: ${refused.status()}`);
}

await belong(await operate());
await browser.close();
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exit(1);
}
console.log('accounts: ok');
