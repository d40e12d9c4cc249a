// Listens to the live stream, with the key if there is one, which a browser's own EventSource cannot send.

const RETRY_MS = 3_000;

/**
 * Calls `onNews` whenever something has happened, and `onState` with whether the stream is there.
 * It reads until the page goes away.
 */
export async function listen(path, headers, onNews, onState) {
  for (;;) {
    try {
      await read(path, headers(), onNews, onState);
    } catch {
      // Without the stream the page asks by the clock; there is nothing else to do about it.
    }
    onState(false);
    await new Promise((resume) => setTimeout(resume, RETRY_MS));
  }
}

async function read(path, headers, onNews, onState) {
  const answer = await fetch(path, { headers });
  if (!answer.ok) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const topic = /^event: (.*)$/m.exec(event)?.[1];
      if (topic === "hello" || topic === "recovered") onState(true);
      else if (topic === "degraded") onState(false);
      if (topic !== undefined) onNews(topic);
    }
  }
}
