// The pooler's clock. What is recorded goes by that, and the browser's may be wrong.
let ahead = 0; // seconds by which it is ahead of the browser's

export const clockNow = () => Date.now() / 1000 + ahead;

// setClock is told the pooler's time. Less than a second may be how long the answer took to come.
export function setClock(time) {
  if (Math.abs(time - clockNow()) > 1) ahead = time - Date.now() / 1000;
}
