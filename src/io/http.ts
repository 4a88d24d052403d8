import { isIP } from 'node:net';
import { nameHint, type Place, speechHint, tlsHint } from '../core/connection-hints.ts';
import { AgentError, type ErrorCode } from '../core/errors.ts';
import { quoted, redact } from '../core/secrets.ts';
import { Unreachable } from './proxy.ts';

/** Host and port as a URL has them: IPv6 addresses in brackets. */
export function authority(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Host and port of an https URL, the host without brackets. */
export function serverOf(url: URL): { host: string; port: number } {
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 443 : Number(url.port) };
}

/**
 * Reads a body as text, up to a limit: an answer from the network never fills the memory. What lies beyond the limit
 * is not read.
 */
export async function readText(response: Response, maxBytes: number): Promise<string> {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let text = '';
  let bytes = 0;
  while (reader !== undefined && bytes < maxBytes) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value.subarray(0, maxBytes - bytes), { stream: true });
    bytes += value.length;
  }
  await reader?.cancel();
  return text;
}

const anyPlace: Place = { endpoint: 'the endpoint', ca: 'the CA file' };

/**
 * Turns what a runtime throws for a failed connection into NETWORK (or the code of the service), with a hint where the cause is known. An abort by
 * the given signal is handed on as it is.
 */
export function networkError(
  error: unknown,
  what: string,
  signal: AbortSignal,
  code: ErrorCode = 'NETWORK',
  place: Place = anyPlace,
): unknown {
  if (signal.aborted || error instanceof AgentError) return error;
  const text = describe(error);
  const hint =
    error instanceof Unreachable
      ? error.hint
      : (tlsHint(text, place) ?? nameHint(text, place) ?? refusedHint(text) ?? speechHint(text, place));
  const options = hint === undefined ? { cause: error } : { cause: error, hint };
  return new AgentError(code, `${what}: ${text}`, options);
}

function refusedHint(text: string): string | undefined {
  return /ECONNREFUSED|ConnectionRefused/.test(text)
    ? 'nothing takes connections there: check the endpoint, a firewall, and "proxy" if the network has one'
    : undefined;
}

// Bun's advice is for who writes the program.
const advice =
  /\.?\s*(For more information, pass `verbose: true`[^()]*(\(\))?|Is the computer able to access the url\?|Was there a typo in the url or port\?)/g;

function describe(error: unknown): string {
  if (!(error instanceof Error)) return quoted(String(error), 200);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const cause =
    error.cause instanceof Error && !(error instanceof Unreachable) ? ` (${error.cause.message})` : '';
  const message = redact(`${error.message}${cause}`)
    .replace(advice, '')
    .replace(/[:\s]+$/, '')
    .replace(/\s+/g, ' ')
    .slice(0, 200);
  return code === '' || message.includes(code) ? message : `${code} ${message}`;
}
