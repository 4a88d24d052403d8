import {
  ConflictException,
  GetThingShadowCommand,
  type IoTDataPlaneClient,
  ResourceNotFoundException,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { isJsonObject, type JsonObject, type JsonValue, member } from '../core/json.ts';
import { desiredOf, type Publication } from './release.ts';

/** Others write too: the device reports, and other uploads come. */
const maxAttempts = 8;

/**
 * Writes a release into the desired state of a thing, unless what is desired is as new. The write names the version
 * of the shadow that was looked at; where that has changed meanwhile, it is looked at again.
 * @throws Error of the client; when the shadow has kept changing
 */
export async function publishTo(
  client: IoTDataPlaneClient,
  thingName: string,
  publication: Publication,
): Promise<'written' | 'kept'> {
  const { property, shadowName, release } = publication;
  const names = { thingName, ...(shadowName === undefined ? {} : { shadowName }) };
  const update = async (document: JsonObject) => {
    const payload = new TextEncoder().encode(JSON.stringify(document));
    await client.send(new UpdateThingShadowCommand({ ...names, payload }));
  };
  let isMade = false;
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const shadow = await read(client, names);
    if (shadow === undefined && !isMade) {
      // A shadow that is not there has no version to write with: it is made first, empty, so that of two releases
      // at once the older never overwrites the newer.
      await update({ state: { desired: {} } });
      isMade = true;
      continue;
    }
    const value = desiredOf(release, shadow === undefined ? undefined : member(shadow.desired, property));
    if (value === undefined) return 'kept';
    try {
      // Where an empty update makes no shadow, this one does.
      const state = { desired: { [property]: value } };
      await update({ state, ...(shadow === undefined ? {} : { version: shadow.version }) });
      return 'written';
    } catch (error) {
      if (!(error instanceof ConflictException)) throw error;
    }
  }
  throw new Error(
    `The shadow of ${thingName} has changed during each of ${maxAttempts} attempts to write it`,
  );
}

async function read(
  client: IoTDataPlaneClient,
  names: { thingName: string; shadowName?: string },
): Promise<{ desired: JsonObject; version: number } | undefined> {
  try {
    const { payload } = await client.send(new GetThingShadowCommand(names));
    const document: JsonValue = JSON.parse(new TextDecoder().decode(payload));
    const { state, version } = isJsonObject(document) ? document : {};
    if (typeof version !== 'number') throw new Error(`The shadow of ${names.thingName} has no version`);
    const desired = isJsonObject(state) ? member(state, 'desired') : undefined;
    return { desired: isJsonObject(desired) ? desired : {}, version };
  } catch (error) {
    if (error instanceof ResourceNotFoundException) return undefined;
    throw error;
  }
}
