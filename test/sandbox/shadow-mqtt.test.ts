import { afterEach, expect, test } from 'bun:test';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Aedes } from 'aedes';
import { connectAsync } from 'mqtt';
import { Faults } from '../../src/sandbox/faults.ts';
import { attachShadowService } from '../../src/sandbox/shadow-mqtt.ts';
import { ShadowService } from '../../src/sandbox/shadow-service.ts';
import { bytes, Device, prefix } from './iot-fixture.ts';

const closers: Array<() => Promise<unknown>> = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A broker without any rule of AWS's. */
async function plainBroker(): Promise<string> {
  const aedes = await Aedes.createBroker();
  const server = createServer(aedes.handle).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    await new Promise<void>((resolve) => aedes.close(resolve));
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port');
  return `mqtt://127.0.0.1:${address.port}`;
}

async function deviceOn(url: string): Promise<Device> {
  const device = new Device(await connectAsync(url, { protocolVersion: 4, reconnectPeriod: 0 }));
  closers.push(() => device.end());
  return device;
}

test('the shadow service works as an ordinary client of any broker', async () => {
  const url = await plainBroker();
  const shadows = new ShadowService();
  const service = await attachShadowService(url, { reconnectPeriod: 0 }, shadows, new Faults());
  closers.push(service.close);
  const device = await deviceOn(url);
  const named = `${prefix}/name/files`;
  await device.client.subscribeAsync([`${prefix}/get/+`, `${prefix}/update/+`, `${named}/get/+`], { qos: 1 });

  await device.publish(`${prefix}/get`, { clientToken: 'token' });
  expect(await device.next(`${prefix}/get/rejected`)).toMatchObject({ code: 404, clientToken: 'token' });
  shadows.update('test-thing', undefined, bytes({ state: { desired: { a: 1 } } }));
  expect(await device.next(`${prefix}/update/delta`)).toMatchObject({ state: { a: 1 } });
  await device.publish(`${prefix}/update`, { state: { reported: { a: 1 } } });
  expect(await device.next(`${prefix}/update/accepted`)).toMatchObject({ version: 1 });
  expect(await device.next(`${prefix}/update/accepted`)).toMatchObject({ version: 2 });
  await device.publish(`${named}/get`, {});
  expect(await device.next(`${named}/get/rejected`)).toMatchObject({ code: 404 });
});

test('names that AWS does not allow are no shadow requests', async () => {
  const url = await plainBroker();
  const shadows = new ShadowService();
  const service = await attachShadowService(url, { reconnectPeriod: 0 }, shadows, new Faults());
  closers.push(service.close);
  const device = await deviceOn(url);
  await device.client.subscribeAsync('$aws/things/+/shadow/update/accepted', { qos: 1 });
  await device.publish('$aws/things/a b/shadow/update', { state: {} });
  await device.publish('$aws/things/ok/shadow/update', { state: {} });
  await device.next('$aws/things/ok/shadow/update/accepted');
  expect(device.untaken).toEqual([]);
});

test('a service that was taken off answers no more', async () => {
  const url = await plainBroker();
  const shadows = new ShadowService();
  const service = await attachShadowService(url, { reconnectPeriod: 0 }, shadows, new Faults());
  await service.close();
  expect(shadows.update('test-thing', undefined, bytes({ state: {} }))).toMatchObject({ ok: true });
});
