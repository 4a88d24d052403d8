/** `aws-iot-device-sdk-v2`, unchanged, on MQTT 3.1.1 against the sandbox's broker and shadow service. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { type Device, Sandbox } from '../../src/sandbox/sandbox.ts';
import { IotSdk } from '../support/clients-iot-sdk.ts';
import {
  deleteShadowResponse,
  errorResponse,
  getShadowResponse,
  shadowDeltaUpdatedEvent,
  shadowUpdatedEvent,
  updateShadowResponse,
} from '../support/clients-shadow-model.ts';

const shadowName = 'files';
let sandbox: Sandbox;
let device: Device;
let sdk: IotSdk;

beforeAll(async () => {
  sandbox = await Sandbox.start({ dir: await mkdtemp(join(tmpdir(), 'shadow-agent-')) });
  device = await sandbox.device('test-thing');
});
afterAll(async () => {
  await sandbox.close();
  await rm(sandbox.dir, { recursive: true, force: true });
});

/** Each test has a connection of its own and finds no shadow. */
function connectEach(version: 'v1' | 'v2'): void {
  beforeEach(async () => {
    sandbox.shadows.restore('{"documents":[],"tombstones":[]}');
    sdk = await IotSdk.start(version, sandbox, device, shadowName);
  });
  afterEach(async () => {
    expect(await sdk.end()).toBe(0);
  });
}

/** Both kinds of shadow are called by the same words, with `Named` in them or not. */
const kinds = [
  { kind: 'classic', Shadow: 'Shadow', name: undefined },
  { kind: 'named', Shadow: 'NamedShadow', name: shadowName },
];

describe('version 1 of the shadow client', () => {
  connectEach('v1');

  for (const { kind, Shadow, name } of kinds) {
    test(`gets, updates and deletes a ${kind} shadow; each answer carries the client token`, async () => {
      await sdk.call(`publishGet${Shadow}`, { clientToken: 'one' });
      expect(v.parse(errorResponse, await sdk.next(`Get${Shadow}Rejected`))).toMatchObject({
        code: 404,
        clientToken: 'one',
      });

      const state = { desired: { a: { b: 1 }, list: [1, 2] }, reported: { a: { b: 0 } } };
      await sdk.call(`publishUpdate${Shadow}`, { clientToken: 'two', state });
      const updated = v.parse(updateShadowResponse, await sdk.next(`Update${Shadow}Accepted`));
      expect(updated).toMatchObject({ state, version: 1, clientToken: 'two' });

      await sdk.call(`publishGet${Shadow}`, { clientToken: 'three' });
      const got = v.parse(getShadowResponse, await sdk.next(`Get${Shadow}Accepted`));
      expect(got.state).toEqual({ ...state, delta: { a: { b: 1 }, list: [1, 2] } });
      expect(got).toMatchObject({ version: 1, clientToken: 'three' });

      await sdk.call(`publishDelete${Shadow}`, { clientToken: 'four' });
      const deleted = v.parse(deleteShadowResponse, await sdk.next(`Delete${Shadow}Accepted`));
      expect(deleted).toMatchObject({ version: 1, clientToken: 'four' });
      await sdk.call(`publishDelete${Shadow}`, { clientToken: 'five' });
      expect(v.parse(errorResponse, await sdk.next(`Delete${Shadow}Rejected`))).toMatchObject({
        code: 404,
        clientToken: 'five',
      });
    });

    test(`hears of the delta and the documents of a ${kind} shadow, whoever writes it`, async () => {
      sandbox.desire('test-thing', { a: 1, b: 2 }, name);
      const delta = v.parse(shadowDeltaUpdatedEvent, await sdk.next(`${Shadow}DeltaUpdatedEvents`));
      expect(delta).toMatchObject({ state: { a: 1, b: 2 }, version: 1 });
      const first = v.parse(shadowUpdatedEvent, await sdk.next(`${Shadow}UpdatedEvents`));
      expect(first).toMatchObject({ previous: null, current: { state: { desired: { a: 1, b: 2 } } } });

      await sdk.call(`publishUpdate${Shadow}`, { state: { reported: { a: 1 } } });
      const rest = v.parse(shadowDeltaUpdatedEvent, await sdk.next(`${Shadow}DeltaUpdatedEvents`));
      expect(rest).toMatchObject({ state: { b: 2 }, version: 2 });
      const second = v.parse(shadowUpdatedEvent, await sdk.next(`${Shadow}UpdatedEvents`));
      expect(second).toMatchObject({ previous: { version: 1 }, current: { version: 2 } });
      const ofOtherKind = (message: string) => message.includes('Named') !== (kind === 'named');
      expect(sdk.untaken.filter(ofOtherKind)).toEqual([]);
    });
  }

  test('is rejected with 409 on an old version, and with 413 when the document is too large', async () => {
    await sdk.call('publishUpdateShadow', { state: { desired: { a: 1 } } });
    const state = { desired: { a: 2 } };
    await sdk.call('publishUpdateShadow', { clientToken: 'old', version: 7, state });
    expect(v.parse(errorResponse, await sdk.next('UpdateShadowRejected'))).toEqual({
      ...{ code: 409, message: 'Version conflict', clientToken: 'old' },
    });
    const large = { desired: { a: 'x'.repeat(9000) } };
    await sdk.call('publishUpdateShadow', { clientToken: 'large', state: large });
    expect(v.parse(errorResponse, await sdk.next('UpdateShadowRejected'))).toMatchObject({
      ...{ code: 413, clientToken: 'large' },
    });
    expect(sandbox.shadow('test-thing')).toMatchObject({ version: 1, state: { desired: { a: 1 } } });
  });
});

describe('version 2 of the shadow client', () => {
  connectEach('v2');

  for (const { kind, Shadow, name } of kinds) {
    test(`gets, updates and deletes a ${kind} shadow, matching answers by their tokens`, async () => {
      const missing = await sdk.call(`get${Shadow}`);
      expect(missing.ok).toBe(false);
      expect(v.parse(errorResponse, missing.body).code).toBe(404);

      const state = { desired: { a: 1 }, reported: { a: 0 } };
      const updated = await sdk.call(`update${Shadow}`, { state });
      expect(v.parse(updateShadowResponse, updated.body)).toMatchObject({ state, version: 1 });
      const got = await sdk.call(`get${Shadow}`);
      expect(v.parse(getShadowResponse, got.body).state).toEqual({ ...state, delta: { a: 1 } });

      const conflict = await sdk.call(`update${Shadow}`, { state, version: 9 });
      expect(conflict.ok).toBe(false);
      expect(v.parse(errorResponse, conflict.body)).toMatchObject({ code: 409, message: 'Version conflict' });

      const deleted = await sdk.call(`delete${Shadow}`);
      expect(v.parse(deleteShadowResponse, deleted.body).version).toBe(1);
      const gone = await sdk.call(`delete${Shadow}`);
      expect(gone.ok).toBe(false);
      expect(v.parse(errorResponse, gone.body).code).toBe(404);
    });

    test(`streams the delta and the documents of a ${kind} shadow`, async () => {
      sandbox.desire('test-thing', { a: { b: [1] } }, name);
      const delta = v.parse(shadowDeltaUpdatedEvent, await sdk.next(`${Shadow}DeltaUpdatedEvents`));
      expect(delta.state).toEqual({ a: { b: [1] } });
      const documents = v.parse(shadowUpdatedEvent, await sdk.next(`${Shadow}UpdatedEvents`));
      expect(documents).toMatchObject({ previous: null, current: { version: 1 } });
    });
  }

  test('answers of requests that are under way together do not get mixed up', async () => {
    sandbox.desire('test-thing', { a: 1 });
    sandbox.desire('test-thing', { b: 2 }, shadowName);
    const calls = ['getShadow', 'getNamedShadow', 'getShadow', 'getNamedShadow'];
    const outcomes = await Promise.all(calls.map((name) => sdk.call(name)));
    const desired = outcomes.map(({ body }) => v.parse(getShadowResponse, body).state.desired);
    expect(desired).toEqual([{ a: 1 }, { b: 2 }, { a: 1 }, { b: 2 }]);
  });

  test('a broker that was away is found again, and the streams with it', async () => {
    sdk.forget();
    await sandbox.restartBroker();
    await sdk.told('interrupt');
    await sdk.told('resume');
    await sdk.stream('ShadowDeltaUpdated', 'lost');
    await sdk.stream('ShadowDeltaUpdated', 'established');
    sandbox.desire('test-thing', { a: 1 });
    expect(await sdk.next('ShadowDeltaUpdatedEvents')).toMatchObject({ state: { a: 1 } });
    expect((await sdk.call('getShadow')).ok).toBe(true);
  });
});
