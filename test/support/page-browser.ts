import { type Browser, chromium, type Page } from "playwright-core";

/** Debian's. */
const CHROMIUM = "/usr/bin/chromium";
const WIDE = { width: 1280, height: 800 };
export const NARROW = { width: 390, height: 844 };

/** A request that fails is an error in the browser's console, too; what the page makes of it is what tests look at. */
const REQUEST_FAILED = /^Failed to load resource/;
/** Roles of what can be used, in the browser's tree of what is told to those who do not see. */
const CONTROL = /^\s*- (?:button|link|textbox|searchbox|combobox|checkbox|spinbutton|radio|tab|switch)\b(?! ")/;

/** A browser that ends with whoever opened it. */
export async function openBrowser(): Promise<Browser & AsyncDisposable> {
  // Its sandbox needs privileges that containers lack; it opens nothing but pages of this machine.
  return await chromium.launch({ executablePath: CHROMIUM, chromiumSandbox: false });
}

export interface OpenedPage extends AsyncDisposable {
  readonly page: Page;
  /** Exceptions, errors in the console, and violations of the Content-Security-Policy among them. */
  readonly errors: readonly string[];
}

/** A page in a profile of its own: no token, no choice of colours. */
export async function openPage(browser: Browser, url: string, viewport = WIDE): Promise<OpenedPage> {
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !REQUEST_FAILED.test(message.text())) errors.push(message.text());
  });
  await page.goto(url);
  return { page, errors, [Symbol.asyncDispose]: () => context.close() };
}

/** Controls that have no name, as the browser tells them to those who do not see the page. */
export async function namelessControls(page: Page): Promise<string[]> {
  const tree = await page.locator("body").ariaSnapshot();
  return tree.split("\n").filter((line) => CONTROL.test(line));
}

/** How far the page can be scrolled to the side, pixels. */
export async function overhang(page: Page): Promise<number> {
  return await page.evaluate("(scrollTo(1e6, scrollY), scrollX)");
}
