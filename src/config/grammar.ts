import { isIP } from 'node:net';
import { Secret } from '../core/credentials.ts';
import { parsePublicKey } from '../core/signature.ts';
import type { ForwardProxy } from '../io/proxy.ts';

/** The value a text stands for, or what is wrong with the text ("must be …"). */
export type Parsed<T> = { value: T } | { problem: string };

export interface HostPort {
  host: string;
  port?: number;
}

export interface CredentialEndpoint {
  host: string;
  port: number;
  path: string;
  roleAlias: string;
}

const hostAndPort = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/;
const hostName =
  /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/i;

function parseHostPort(text: string): HostPort | undefined {
  const match = hostAndPort.exec(text);
  if (match === null) return undefined;
  const [, v6, name = '', port] = match;
  if (v6 === undefined ? !hostName.test(name) : isIP(v6) !== 6) return undefined;
  const host = (v6 ?? name).toLowerCase();
  if (port === undefined) return { host };
  const number = Number(port);
  return number >= 1 && number <= 65535 ? { host, port: number } : undefined;
}

/** `host` or `host:port` of the AWS IoT data endpoint. */
export function parseEndpoint(text: string): Parsed<HostPort> {
  if (text.includes('://')) return { problem: 'must be a host without a scheme in front' };
  if (/\.credentials\.iot\./.test(text)) {
    return { problem: 'is the credentials provider; the data endpoint (iot:Data-ATS) is wanted here' };
  }
  const value = parseHostPort(text);
  return value === undefined ? { problem: 'must be host or host:port' } : { value };
}

/** `[https://]host[:port]/role-aliases/ALIAS/credentials`. Source: authorizing-direct-aws; alias: API_CreateRoleAlias. */
export function parseCredentialEndpoint(text: string): Parsed<CredentialEndpoint> {
  if (/^http:/i.test(text)) return { problem: 'must be https: the answer holds credentials' };
  const bare = text.replace(/^https:\/\//i, '');
  const slash = bare.indexOf('/');
  const path = slash === -1 ? '' : bare.slice(slash);
  const roleAlias = /^\/role-aliases\/([\w=,@-]{1,128})\/credentials$/.exec(path)?.[1];
  if (roleAlias === undefined) return { problem: 'must end in /role-aliases/ALIAS/credentials' };
  const at = parseHostPort(bare.slice(0, slash));
  if (at === undefined) return { problem: 'must begin with host or host:port' };
  return { value: { host: at.host, port: at.port ?? 443, path, roleAlias } };
}

/** An https origin, `https://host[:port]`. */
export function parseOrigin(text: string): Parsed<string> {
  if (/^http:/i.test(text)) return { problem: 'must be https: the session token is never sent in clear' };
  const rest = /^https:\/\/([^/]*)\/?$/i.exec(text)?.[1];
  const at = rest === undefined ? undefined : parseHostPort(rest);
  if (at === undefined)
    return { problem: 'must be https://host or https://host:port, with nothing behind it' };
  const host = isIP(at.host) === 6 ? `[${at.host}]` : at.host;
  return { value: new URL(`https://${host}:${at.port ?? 443}`).origin };
}

/** `[http://][user:password@]host[:port]`, with what is special in user and password percent-encoded. */
export function parseProxy(text: string): Parsed<ForwardProxy> {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'http')
    return { problem: 'must be an http:// proxy; others are not supported' };
  const [, userinfo, rest = ''] = /^(?:http:\/\/)?(?:([^@/]*)@)?([^@/]*)\/?$/i.exec(text) ?? [];
  const at = parseHostPort(rest);
  if (at === undefined) return { problem: 'must be http://host:port or http://user:password@host:port' };
  const { host, port = 80 } = at;
  if (userinfo === undefined) return { value: { host, port } };
  const [user = '', ...password] = userinfo.split(':');
  try {
    const login = {
      user: decodeURIComponent(user),
      password: new Secret(decodeURIComponent(password.join(':'))),
    };
    // Basic authentication parts the two at the first colon, and header lines end at a line end.
    if (login.user.includes(':') || hasControl(login.user) || hasControl(login.password.reveal()))
      return { problem: 'has a colon in the user, or a control character' };
    return { value: { host, port, login } };
  } catch {
    return { problem: 'has a % in user or password that begins no percent-encoding: write %25' };
  }
}

/** Permission bits of three or four octal digits. */
export function parseMode(text: string): Parsed<number> {
  return /^[0-7]{3,4}$/.test(text)
    ? { value: Number.parseInt(text, 8) }
    : { problem: 'must be three or four octal digits' };
}

/** An MQTT client id as AWS IoT takes it: at most 128 bytes of UTF-8, `$` is reserved. Source: AWS IoT limits. */
export function parseClientId(text: string): Parsed<string> {
  if (text === '') return { problem: 'must not be empty' };
  if (text.startsWith('$')) return { problem: 'must not begin with $, which AWS reserves' };
  if (hasControl(text)) return { problem: 'must not hold control characters' };
  return Buffer.byteLength(text) <= 128 ? { value: text } : { problem: 'must be at most 128 bytes' };
}

/** A key of the shadow's desired and reported sections. */
export function parseProperty(text: string): Parsed<string> {
  if (text === '') return { problem: 'must not be empty' };
  if (text === 'shadowAgent') return { problem: "is reserved for the agent's own status" };
  if (text === '__proto__') return { problem: 'is no usable name' };
  return hasControl(text) ? { problem: 'must not hold control characters' } : { value: text };
}

/** An Ed25519 public key in base64; only that it can be one. */
export function parseSigningKey(text: string): Parsed<string> {
  // The middle of RFC 8410's PrivateKeyInfo, the same with and without a public key behind.
  if (/PRIVATE KEY|wBQYDK2VwBCIEI/.test(text)) {
    return {
      problem: 'is a private key, which belongs on no device: name the public one, as keygen printed it',
    };
  }
  if (text.includes('-----BEGIN')) {
    return { problem: 'must be the line that `shadow-agent keygen` prints, not the content of a PEM file' };
  }
  return parsePublicKey(text) === undefined
    ? { problem: 'must be the base64 of 32 bytes, which has 44 characters' }
    : { value: text };
}

/** A path of the file system; only that it can be one. */
export function parsePath(text: string): Parsed<string> {
  if (text === '') return { problem: 'must not be empty' };
  if (text.includes('-----BEGIN')) return { problem: 'must be the path of a file, not its content' };
  return text.includes('\0') ? { problem: 'must not hold a NUL character' } : { value: text };
}

function hasControl(text: string): boolean {
  return /\p{Cc}/u.test(text) || !text.isWellFormed();
}
