/** Decodes percent escapes; text with an invalid one stands for itself, to be refused by whoever looks it up. */
export function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
