"use strict";

// The Python of a page, in a thread of its own, so that the page stays alive and can end it.
//
// It begins by itself and says {loaded: bytes} on the way, then {ready} or {failed: why}. A message
// {source, aside, fresh} runs one cell; it answers with {output} for each output, as a notebook
// keeps it, and {done, ok, memory} at the end.

let loaded = 0;
let told = 0;
const fetchQuietly = self.fetch;
self.fetch = async (...request) => {
  const response = await fetchQuietly(...request);
  const count = new TransformStream({
    transform(chunk, controller) {
      loaded += chunk.byteLength;
      if (loaded - told > 500_000) postMessage({ loaded: (told = loaded) });
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(count), response);
};

async function begin() {
  const lockFileURL = new URL("lock.json", self.location).href;
  const { info } = await (await fetch(lockFileURL)).json();
  const indexURL = new URL(`../pyodide-${info.version}/`, self.location).href;
  importScripts(`${indexURL}pyodide.js`);
  const python = await loadPyodide({ indexURL, lockFileURL, stdout() {}, stderr() {} });
  // A file with another checksum than the lock's is refused, and told of here only.
  const refused = [];
  await python.loadPackage(["ipython", "mmlib"], { messageCallback() {}, errorCallback: line => refused.push(line) });
  if (refused.length) throw new Error(refused.join(" "));
  python.registerJsModule("page", { send: output => postMessage({ output: JSON.parse(output) }) });
  python.runPython(await (await fetch("shell.txt")).text());
  return python;
}

const beginning = begin();
beginning.then(() => postMessage({ ready: true }), error => postMessage({ failed: String(error.message ?? error) }));

self.onmessage = async ({ data: { source, aside, fresh } }) => {
  const python = await beginning;
  if (fresh) python.globals.get("fresh")();
  const ok = python.globals.get("run")(source, aside);
  postMessage({ done: true, ok, memory: python._module.HEAP8.length });
};
