/** What the scenarios rely on when they are played on mosquitto. */
import { afterEach, expect } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Broker } from '../../src/sandbox/broker.ts';
import { attachShadowService } from '../../src/sandbox/shadow-mqtt.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { mosquitto, serviceName, startMosquitto } from '../support/mosquitto.ts';
import { toolTest } from '../support/tools.ts';
import { until } from '../support/world.ts';
import { bytes, connectDevice, createIot, type Device, type Iot, prefix } from './iot-fixture.ts';

const closers: Array<() => Promise<unknown>> = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(): Promise<{ iot: Iot; broker: Broker }> {
  const iot = await createIot();
  const dir = await mkdtemp(join(tmpdir(), 'shadow-agent-'));
  closers.push(() => rm(dir, { recursive: true }));
  const broker = await startMosquitto(iot, dir);
  closers.push(() => broker.close());
  return { iot, broker };
}

async function connectAs(thingName: string, broker: Broker, iot: Iot): Promise<Device> {
  const device = await iot.pki.issueDevice(thingName);
  const client = await connectDevice(broker, { ...iot, device }, { clientId: thingName });
  closers.push(() => client.end());
  return client;
}

toolTest([mosquitto], 'mosquitto gives a device the shadow of its certificate and no other', async () => {
  const { iot, broker } = await start();
  const device = await connectAs('test-thing', broker, iot);
  const other = await connectAs('other-thing', broker, iot);
  const otherPrefix = '$aws/things/other-thing/shadow';
  for (const each of [device, other]) {
    await each.client.subscribeAsync([`${prefix}/update/+`, `${otherPrefix}/update/accepted`], { qos: 1 });
  }

  await other.publish(`${prefix}/update`, { state: { reported: { forged: true } } });
  await other.publish(`${prefix}/update/delta`, { state: { forged: true } });
  await device.publish(`${prefix}/update/delta`, { state: { forged: true } });
  await other.publish(`${otherPrefix}/update`, { state: { reported: { a: 1 } } });
  expect(await other.next(`${otherPrefix}/update/accepted`)).toMatchObject({ version: 1 });
  await device.publish(`${prefix}/update`, { state: { reported: { a: 1 } } });
  expect(await device.next(`${prefix}/update/accepted`)).toMatchObject({ version: 1 });
  await device.next(`${prefix}/update/documents`);
  await other.publish(`${otherPrefix}/update`, { state: { reported: { a: 2 } } });
  expect(await other.next(`${otherPrefix}/update/accepted`)).toMatchObject({ version: 2 });
  expect([...device.untaken, ...other.untaken]).toEqual([]);
});

toolTest([mosquitto], 'mosquitto refuses a client without a certificate of the authority', async () => {
  const { iot, broker } = await start();
  const elsewhere = await createIot();
  await expect(connectDevice(broker, { ...iot, device: elsewhere.device })).rejects.toThrow();
  await expect(connectDevice(broker, { ...iot, device: { cert: '', key: '' } })).rejects.toThrow();
  expect(broker.connects).toBe(0);
});

toolTest([mosquitto], 'the broker on mosquitto tells who connects, and ends a connection', async () => {
  const { iot, broker } = await start();
  const device = await connectAs('test-thing', broker, iot);
  await until('the session', () => broker.sessions().length > 0);
  expect(broker.sessions()).toEqual(['test-thing']);
  broker.kick('test-thing');
  await device.closed;
  await until('the end of the session', () => broker.sessions().length === 0);
  await connectAs('test-thing', broker, iot);
  await until('the second session', () => broker.connects === 2);
  expect(broker.sessions()).toEqual(['test-thing']);
});

toolTest(
  [mosquitto],
  'what a device asks while the shadow service is away is answered afterwards',
  async () => {
    const { iot, broker } = await start();
    const shadows = new ShadowService();
    shadows.update('test-thing', undefined, bytes({ state: { desired: { a: 1 } } }));
    const identity = { ...(await iot.pki.issueDevice(serviceName)), ca: iot.pki.caCert };
    const attach = () =>
      attachShadowService(
        `mqtts://127.0.0.1:${broker.port}`,
        { ...identity, clientId: 'second-service', clean: false, reconnectPeriod: 0 },
        shadows,
        iot.faults,
      );
    await (await attach()).close();
    const device = await connectAs('test-thing', broker, iot);
    await device.client.subscribeAsync(`${prefix}/get/+`, { qos: 1 });
    await device.publish(`${prefix}/get`, { clientToken: 'token' });
    expect(await device.next(`${prefix}/get/rejected`)).toMatchObject({ code: 404 });
    const back = await attach();
    closers.push(() => back.close());
    expect(await device.next(`${prefix}/get/accepted`)).toMatchObject({ clientToken: 'token' });
  },
);
