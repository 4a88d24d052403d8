/**
 * The messages of the Device Shadow service as `aws-iot-device-sdk-v2` models them (`iotshadow/model.d.ts`), and no
 * member more. A timestamp is a `Date` there and epoch seconds on the wire.
 */
import * as v from 'valibot';

const text = v.optional(v.string());
const epochSeconds = v.pipe(v.number(), v.integer(), v.minValue(1.4e9), v.maxValue(9e9));
const version = v.pipe(v.number(), v.integer(), v.minValue(1));
const section = v.optional(v.record(v.string(), v.unknown()));
const metadata = v.strictObject({ desired: section, reported: section });
const state = v.strictObject({ desired: section, reported: section });

export const getShadowResponse = v.strictObject({
  ...{ state: v.strictObject({ desired: section, reported: section, delta: section }), metadata },
  ...{ version, timestamp: epochSeconds, clientToken: text },
});
export const updateShadowResponse = v.strictObject({
  ...{ state, metadata, version, timestamp: epochSeconds, clientToken: text },
});
export const deleteShadowResponse = v.strictObject({ version, timestamp: epochSeconds, clientToken: text });
export const shadowDeltaUpdatedEvent = v.strictObject({
  ...{ state: v.record(v.string(), v.unknown()), metadata: v.record(v.string(), v.unknown()) },
  ...{ version, timestamp: epochSeconds, clientToken: text },
});
/** AWS sends a literal null where there was no shadow before, and the client token, which the model leaves out. */
export const shadowUpdatedEvent = v.strictObject({
  previous: v.nullable(v.strictObject({ state, metadata, version })),
  current: v.strictObject({ state, metadata, version }),
  ...{ timestamp: epochSeconds, clientToken: text },
});
export const errorResponse = v.strictObject({
  ...{ code: v.pipe(v.number(), v.integer()), message: v.string() },
  ...{ timestamp: v.optional(epochSeconds), clientToken: text },
});
