/** Waits for work, but not long once the signal is aborted: the agent has 5 s to stop. @returns whether it is done */
export async function isDone(work: Promise<void>, signal: AbortSignal, ms = 1_500): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const begin = (): void => {
    timer = setTimeout(() => late.resolve(false), ms);
  };
  if (signal.aborted) begin();
  else signal.addEventListener('abort', begin, { once: true });
  try {
    return await Promise.race([work.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', begin);
  }
}
