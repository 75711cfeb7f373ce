// @ts-check
// Elements and events of the page. The events of htmx have the context of their request.

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {any} The first element, or null.
 */
export function find(selector, root = document) {
  return root.querySelector(selector);
}

/**
 * @param {string} selector
 * @param {ParentNode} [root]
 * @returns {any[]}
 */
export function findAll(selector, root = document) {
  return [...root.querySelectorAll(selector)];
}

/**
 * @param {string} type
 * @param {(target: any, event: any) => void} listener
 */
export function listen(type, listener) {
  // Before the listeners of elements, and also if an event does not bubble.
  document.addEventListener(type, (event) => listener(event.target, event), true);
}

/**
 * @typedef {{
 *   confirm?: string,
 *   request: any,
 *   response: { status: number, headers: Headers },
 *   sourceElement: HTMLElement,
 *   sourceEvent?: Event,
 *   target: HTMLElement,
 *   text: string,
 * }} RequestContext
 */

/**
 * @param {string} name
 * @param {(context: RequestContext, event: any) => void} listener
 */
export function listenToHtmx(name, listener) {
  listen(`htmx:${name}`, (_target, event) => listener(event.detail.ctx, event));
}
