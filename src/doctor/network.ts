/** Probes of the way to AWS: names, connections, and the clock of the network. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { credentialsPlace, dataPlace, s3Place } from '../core/connection-hints.ts';
import type { Finding } from '../core/doctor.ts';
import { AgentError } from '../core/errors.ts';
import { alpnPort, portsOf } from '../core/ports.ts';
import { durationText, timeText } from '../core/words.ts';
import { handshake } from '../io/handshake.ts';
import { authority, readText } from '../io/http.ts';
import { through } from '../io/proxy.ts';
import { createFetch } from '../io/runtime.ts';
import { type Endpoint, type Findings, fail, ok, skip, warn } from './probe.ts';

// Port 443 of the data endpoint speaks MQTT under this alone. Source: AWS IoT developer guide, protocols.
const mqttAlpn = 'x-amzn-mqtt-ca';

/** Where a proxy leads to the server, the proxy looks its name up; so the name that matters here is the proxy's. */
export async function probeDns(found: Findings, name: Endpoint['name']): Promise<Finding> {
  const { host: wanted, key: itsKey } = found.endpoint(name);
  const proxy = found.proxyOf(name);
  const [host, key, suffix] =
    proxy === undefined ? [wanted, itsKey, ''] : [proxy.host, 'proxy', `; the proxy looks up ${wanted}`];
  if (isIP(host) !== 0) return ok(`${host} is an address${suffix}`);
  const startedMs = found.clock.nowMs();
  try {
    const addresses = (await lookup(host, { all: true })).map(({ address }) => address);
    const took = milliseconds(found.clock.nowMs() - startedMs);
    return ok(`${host} is ${addresses.slice(0, 4).join(', ')} (${took})${suffix}`);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return fail({
      message: `${host} has no address: ${code}`,
      hint: `check "${key}", and the name servers of this device (/etc/resolv.conf)`,
    });
  }
}

export async function probeTls(
  found: Findings,
  name: Endpoint['name'],
  signal: AbortSignal,
): Promise<Finding> {
  if (name !== 'data') return tryTls(found, name, signal);
  const [first, ...others] = portsOf(found.config.endpoint);
  const finding = await tryTls(found, name, signal);
  for (const port of finding.verdict === 'fail' ? others : []) {
    found.dataPort = port;
    const second = await tryTls(found, name, signal);
    if (second.verdict !== 'ok') continue;
    return warn(
      `${second.message}; port ${first} does not: ${finding.message}`,
      `nothing has to be done: the agent takes port ${port}; to spare it the try, write it behind the host in "endpoint"`,
    );
  }
  found.dataPort = first;
  return finding;
}

const places = { data: dataPlace, credentials: credentialsPlace, s3: s3Place };

async function tryTls(found: Findings, name: Endpoint['name'], signal: AbortSignal): Promise<Finding> {
  const { host, port, key } = found.endpoint(name);
  const { certPem, keyPem } = found.identity;
  const proxy = found.proxyOf(name);
  const where = `${authority(host, port)}${through(proxy)}`;
  const alpn = name === 'data' && port === alpnPort ? mqttAlpn : undefined;
  const device = name === 's3' ? {} : { cert: certPem, key: keyPem };
  const ask = alpn === undefined ? {} : { alpnProtocols: [alpn] };
  try {
    const made = await handshake(
      { host, port, proxy, ca: found.rootsOf(name), ...device, ...ask },
      places[name],
      signal,
    );
    const figures = `${where} answers: ${made.protocol} in ${milliseconds(made.milliseconds)}`;
    if (alpn === undefined) return ok(figures);
    if (made.alpn === alpn) return ok(`${figures}, ALPN ${alpn}`);
    return fail({
      message: `${where} takes TLS, but not the ALPN protocol ${alpn}`,
      hint: 'something on the way ends TLS: check for a proxy that looks into it, or take port 8883',
    });
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const open = `is outgoing TCP to port ${port} of this host allowed by firewall and router? check "${key}", too`;
    const clock = /expired|not.yet.valid/i.test(error.message)
      ? `the clock of this device says ${timeText(found.clock.wallMs())}: set it (NTP) if that is wrong`
      : undefined;
    return fail({ message: error.message, hint: clock ?? error.hint ?? open });
  }
}

// Signatures more than 15 minutes off are refused by S3 (RequestTimeTooSkewed); the agent signs with the network's time.
const noticeableMs = 60_000;

/** Compares the clocks, by the `Date` of an answer that came over trusted TLS: of S3, else of the provider. */
export async function probeClock(found: Findings, signal: AbortSignal): Promise<Finding> {
  const names = (['s3', 'credentials'] as const).filter(
    (name) => found.firstFailed([`tls ${name}`]) === undefined,
  );
  for (const name of names) {
    const aheadMs = await clockAhead(found, name, signal).catch(() => undefined);
    if (aheadMs === undefined) continue;
    found.clockAheadMs = aheadMs;
    const { host } = found.endpoint(name);
    const off = Math.abs(aheadMs);
    // The header has whole seconds.
    if (off < 2_000) return ok(`within 2 s of ${host}`);
    const text = `${durationText(off)} ${aheadMs > 0 ? 'ahead of' : 'behind'} ${host}`;
    if (off < noticeableMs) return ok(text);
    return warn(
      text,
      'set it (NTP): the agent signs with the time of AWS, but certificates are judged by this clock',
    );
  }
  return skip('no server that is trusted told the time');
}

async function clockAhead(
  found: Findings,
  name: Endpoint['name'],
  signal: AbortSignal,
): Promise<number | undefined> {
  const { host, port } = found.endpoint(name);
  const { certPem, keyPem } = found.identity;
  const device = name === 's3' ? {} : { cert: certPem, key: keyPem };
  const fetch = createFetch({ ca: found.rootsOf(name), ...device }, found.route);
  const response = await fetch(`https://${authority(host, port)}/`, { headers: new Headers(), signal });
  const date = response.headers.get('date');
  await readText(response, 4096);
  found.serverTime.learn(date);
  const serverMs = Date.parse(date ?? '');
  return Number.isFinite(serverMs) ? found.clock.wallMs() - serverMs : undefined;
}

export function milliseconds(ms: number): string {
  return `${Math.max(1, Math.round(ms))} ms`;
}
