(() => {
  const live = document.getElementById('live');
  const tell = (text) => { if (live.textContent !== text) live.textContent = text; };
  const events = new EventSource('events');
  events.addEventListener('open', () => tell('Live: this page keeps itself up to date.'));
  events.addEventListener('part', (event) => {
    const { id, html } = JSON.parse(event.data);
    const part = document.getElementById(id);
    if (part) part.innerHTML = html;
  });
  events.addEventListener('error', () => tell(events.readyState === EventSource.CLOSED
    ? 'Not live: this peer keeps no more pages up to date. Close some, and reload this one.'
    : 'Not live: the peer does not answer. This page shows what it said last, and asks again.'));
})();
