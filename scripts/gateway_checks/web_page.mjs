// Opens the web page in headless Chromium, asks about a picture, and reports what it saw as JSON.
// Called by gateway_checks/web_page.py: node web_page.mjs OPTIONS.json, with the packages beside it.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const options = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const require = createRequire(path.join(options.packages, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const chromium = (await load('@sparticuz/chromium')).default;
const puppeteer = (await load('puppeteer-core')).default;

const seen = { requests: [], errors: [], failures: [], waited: false, answer: '' };
const browser = await puppeteer.launch({
	executablePath: await chromium.executablePath(),
	// The package's own flags switch the browser's checks between origins off: they stay on here.
	args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--font-render-hinting=none'],
	headless: 'shell',
	defaultViewport: { width: 1100, height: 800 }
});
const page = await browser.newPage();
page.on('response', (r) =>
	seen.requests.push({ method: r.request().method(), url: r.url(), status: r.status() })
);
page.on('requestfailed', (r) =>
	seen.requests.push({ method: r.method(), url: r.url(), status: 0, why: r.failure()?.errorText })
);
page.on('pageerror', (e) => seen.failures.push(String(e).slice(0, 300)));
page.on('console', (m) => {
	if (m.type() === 'error') seen.errors.push(m.text().slice(0, 300));
});

const limit = options.seconds * 1000;
const shot = (name) => page.screenshot({ path: path.join(options.out, name) });
try {
	await page.goto(options.url, { waitUntil: 'load', timeout: limit });
	if (await page.$('[data-steprun="waiting"]')) {
		seen.waited = true;
		await shot('waiting.png');
	}
	if (options.key) {
		// Without a key the page asks for it, behind a button.
		const button = await page.waitForSelector('::-p-text(Enter API Key)', { timeout: limit });
		await shot('key.png');
		await button.click();
		const field = await page.waitForSelector('#api-key-input', { timeout: limit });
		await field.type(options.key);
		await field.press('Enter');
		await page.waitForSelector('#api-key-input', { hidden: true, timeout: limit });
	}
	const box = await page.waitForSelector('textarea:not([disabled])', { timeout: limit });
	await new Promise((done) => setTimeout(done, 1500)); // what it can take is read from /props
	if (options.picture) {
		const input = await page.waitForSelector('input[type=file]', { timeout: limit });
		await input.uploadFile(options.picture);
		await page.waitForSelector('img[src^="data:image"], img[src^="blob:"]', { timeout: limit });
	}
	await box.type(options.question);
	const ended = new Promise((done, failed) => {
		const asked = (r) => r.url().endsWith('/v1/chat/completions');
		page.on('requestfinished', (r) => asked(r) && done());
		page.on('requestfailed', (r) => asked(r) && failed(new Error('The answer was cut off.')));
		setTimeout(() => failed(new Error('The answer did not end in time.')), 3 * limit);
	});
	await box.press('Enter');
	await ended;
	await new Promise((done) => setTimeout(done, 2000)); // the page draws what it has received
	seen.answer = await page.evaluate(() => {
		const all = document.querySelectorAll('[aria-label*="ssistant" i]');
		return all.length ? all[all.length - 1].innerText : '';
	});
	await shot('answer.png');
} catch (error) {
	seen.failures.push(String(error));
	await shot('failed.png').catch(() => {});
	seen.text = await page.evaluate(() => document.body.innerText.slice(0, 2000)).catch(() => '');
} finally {
	await browser.close().catch(() => {});
}
fs.writeFileSync(path.join(options.out, 'seen.json'), JSON.stringify(seen, null, 1));
