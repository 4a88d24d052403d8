/** `@aws-sdk/client-iot-data-plane`: the errors for which it has classes, and named shadows. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import {
  ConflictException,
  DeleteThingShadowCommand,
  GetThingShadowCommand,
  InvalidRequestException,
  IoTDataPlaneClient,
  RequestEntityTooLargeException,
  ResourceNotFoundException,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { region } from '../../src/sandbox/sandbox.ts';
import { ClientsSandbox } from '../support/clients-sandbox.ts';

const names = { thingName: 'sdk-thing', shadowName: 'files' };
let clients: ClientsSandbox;
let client: IoTDataPlaneClient;

beforeAll(async () => {
  clients = await ClientsSandbox.start();
  const { dataPlane, operator, pki } = clients.sandbox;
  client = new IoTDataPlaneClient({
    ...{ endpoint: `https://127.0.0.1:${dataPlane.port}`, region, credentials: operator },
    requestHandler: { httpsAgent: { ca: pki.caCert } },
  });
});
afterAll(async () => {
  client.destroy();
  await clients.close();
});

async function update(document: unknown) {
  const payload = new TextEncoder().encode(JSON.stringify(document));
  const answer = await client.send(new UpdateThingShadowCommand({ ...names, payload }));
  return JSON.parse(new TextDecoder().decode(answer.payload));
}

test('a shadow that is not there is ResourceNotFoundException, to get and to delete', async () => {
  const absent = { thingName: 'sdk-thing', shadowName: 'absent' };
  const get = client.send(new GetThingShadowCommand(absent));
  await expect(get).rejects.toBeInstanceOf(ResourceNotFoundException);
  const remove = client.send(new DeleteThingShadowCommand(absent));
  await expect(remove).rejects.toBeInstanceOf(ResourceNotFoundException);
});

test('an update that cannot be taken is refused by class, and changes nothing', async () => {
  expect(await update({ state: { desired: { a: 1 } } })).toMatchObject({ version: 1 });
  const large = { state: { desired: { a: 'x'.repeat(9000) } } };
  await expect(update(large)).rejects.toBeInstanceOf(RequestEntityTooLargeException);
  await expect(update({ state: {}, version: 7 })).rejects.toBeInstanceOf(ConflictException);
  await expect(update({ state: 1 })).rejects.toBeInstanceOf(InvalidRequestException);
  expect(await update({ state: { reported: { a: 1 } }, version: 1 })).toMatchObject({ version: 2 });
  expect(clients.sandbox.shadow('sdk-thing', 'files')).toMatchObject({ state: { desired: { a: 1 } } });
});

test('a named shadow is deleted by its name, and the classic one stays', async () => {
  const classic = { thingName: 'two-shadows' };
  const named = { ...classic, shadowName: 'files' };
  const payload = new TextEncoder().encode('{"state":{"desired":{"a":1}}}');
  for (const shadow of [classic, named]) {
    await client.send(new UpdateThingShadowCommand({ ...shadow, payload }));
  }
  await client.send(new DeleteThingShadowCommand(named));
  const gone = client.send(new GetThingShadowCommand(named));
  await expect(gone).rejects.toBeInstanceOf(ResourceNotFoundException);
  expect(clients.sandbox.shadow('two-shadows')).toMatchObject({ state: { desired: { a: 1 } } });
});
