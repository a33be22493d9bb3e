"use strict";

// What a page has fetched to run, kept for the next time; registered when a reader asks for it.
//
// What lies below live/ is named after its content, so what was kept is right for ever. All else,
// pages above all, comes from the network; what was kept serves only where there is none.

const KEPT = ["live/@RELEASE@/", "live/@VERSION@/"];
const CACHE = "live";

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", event => event.waitUntil(tidy().then(() => self.clients.claim())));

self.addEventListener("fetch", event => {
  const where = place(event.request);
  if (event.request.method !== "GET" || where === null) return;
  event.respondWith(where.startsWith("live/") ? keptFirst(event) : networkFirst(event));
});

// Where in this site something lies; null for what lies elsewhere.
function place({ url }) {
  const root = self.registration.scope;
  return url.startsWith(root) ? url.slice(root.length) : null;
}

// Another version's files are never asked for again.
async function tidy() {
  const cache = await caches.open(CACHE);
  for (const request of await cache.keys()) {
    const where = place(request) ?? "";
    if (where.startsWith("live/") && !KEPT.some(folder => where.startsWith(folder))) await cache.delete(request);
  }
}

async function keptFirst(event) {
  const cache = await caches.open(CACHE);
  return (await cache.match(event.request.url)) ?? keep(event, cache, await fetch(event.request));
}

async function networkFirst(event) {
  const cache = await caches.open(CACHE);
  try {
    return keep(event, cache, await fetch(event.request, { cache: "no-cache" }));
  } catch (error) {
    const kept = await cache.match(event.request.url, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

function keep(event, cache, response) {
  // A full disk is no reason not to answer.
  if (response.ok) event.waitUntil(cache.put(event.request.url, response.clone()).catch(() => {}));
  return response;
}
