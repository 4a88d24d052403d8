import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connectAsync, type IClientOptions } from 'mqtt';
import type { Broker, BrokerMessage, BrokerOptions } from '../../src/sandbox/broker.ts';
import type { Pki } from '../../src/sandbox/pki.ts';
import { remember } from '../../src/sandbox/ring.ts';
import { attachShadowService } from '../../src/sandbox/shadow-mqtt.ts';
import { freePort } from './free-port.ts';
import { program } from './tools.ts';
import { Run, until } from './world.ts';

export const mosquitto = program('mosquitto');

/** Common name of certificates that may use all topics. */
export const serviceName = 'shadow-service';
const spyName = 'shadow-spy';

/** What AWS's policy gives a device, in mosquitto's terms: %u is the common name of its certificate. */
const accessList = `user ${serviceName}
topic readwrite #
topic readwrite $aws/#
${['shadow', 'shadow/name/+']
  .flatMap((shadow) => [
    ...['get', 'update', 'delete'].map((verb) => `pattern write $aws/things/%u/${shadow}/${verb}`),
    ...['get', 'update', 'delete'].map((verb) => `pattern read $aws/things/%u/${shadow}/${verb}/+`),
  ])
  .join('\n')}
`;

/**
 * Starts mosquitto with mutual TLS on 127.0.0.1 and attaches the shadow service as an ordinary client. What a device
 * asks while the service is away is kept for it, over a restart as well. Faults that work on connections (`mqtt-…`)
 * and the registration of certificates are the sandbox's own broker's alone.
 *
 * `messages` are what a spy on `$aws/#` sees; their client id is the name of the thing.
 */
export async function startMosquitto(options: BrokerOptions, dir: string): Promise<Broker> {
  const { pki, shadows, faults, log = () => undefined } = options;
  const port = options.port || (await freePort());
  const server = await startServer(join(dir, 'mosquitto'), pki, port);
  server.child.stderr?.on('data', (lines: string) => log(lines.trimEnd()));
  const url = `mqtts://127.0.0.1:${port}`;
  const { cert, key } = await pki.issueDevice(serviceName);
  const identity: IClientOptions = { cert, key, ca: pki.caCert, protocolVersion: 4, reconnectPeriod: 0 };
  try {
    const spy = await connectAsync(url, { ...identity, clientId: spyName });
    const messages: BrokerMessage[] = [];
    spy.on('error', () => undefined);
    spy.on('message', (topic, payload) => remember(messages, messageOf(topic, payload.toString())));
    await spy.subscribeAsync('$aws/#', { qos: 1 });
    const attached = { ...identity, clientId: serviceName, clean: false };
    const service = await attachShadowService(url, attached, shadows, faults);
    return {
      port,
      get connects() {
        return connected(server.log).length;
      },
      messages,
      sessions: () => sessions(server.log),
      // Of two clients with one id, a broker keeps the newer.
      kick: (clientId) => {
        connectAsync(url, { ...identity, clientId }).then((client) => client.end());
      },
      publish: async (topic, payload) => {
        await spy.publishAsync(topic, payload, { qos: 1 });
      },
      close: async () => {
        await Promise.all([service.close(), spy.endAsync()]);
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw new Error(`Cannot use mosquitto: ${String(error)}\n${server.log}`, { cause: error });
  }
}

async function startServer(dir: string, pki: Pki, port: number): Promise<Run> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const files = {
    'ca.pem': pki.caCert,
    'server.pem': pki.server.cert,
    'server.key': pki.server.key,
    acl: accessList,
    'mosquitto.conf': settings(dir, port),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text, { mode: 0o600 });
  const run = new Run(mosquitto.path, ['-c', join(dir, 'mosquitto.conf')], dir);
  const isUp = () => / running$/m.test(run.log);
  await until('mosquitto', () => isUp() || run.child.exitCode !== null).catch(() => undefined);
  if (isUp()) return run;
  await run.stop();
  throw new Error(`mosquitto does not start:\n${run.log}`);
}

/** Started by root, mosquitto would become another user, who could not read these files; else `user` says nothing. */
function settings(dir: string, port: number): string {
  return `listener ${port} 127.0.0.1
cafile ${dir}/ca.pem
certfile ${dir}/server.pem
keyfile ${dir}/server.key
require_certificate true
use_identity_as_username true
acl_file ${dir}/acl
persistence true
persistence_location ${dir}/
user root
set_tcp_nodelay true
log_dest stderr
`;
}

function messageOf(topic: string, payload: string): BrokerMessage {
  const direction = /\/(?:get|update|delete)$/.test(topic) ? 'in' : 'out';
  return { direction, clientId: topic.split('/')[2] ?? '', topic, payload };
}

/** Client ids of the devices that have connected, from the log. */
function connected(log: string): string[] {
  const line = /New client connected from \S+ as (\S+) \(.*u'(.*)'\)/g;
  return [...log.matchAll(line)].flatMap(([, id = '', user]) => (user === serviceName ? [] : [id]));
}

/** Client ids of the devices that are connected, from the log. */
function sessions(log: string): string[] {
  const ids = new Set<string>();
  for (const line of log.split('\n')) {
    for (const id of connected(line)) ids.add(id);
    const gone = / Client (\S+) (?:already connected|closed|disconnected|has exceeded)/.exec(line)?.[1];
    if (gone !== undefined) ids.delete(gone);
  }
  return [...ids];
}
