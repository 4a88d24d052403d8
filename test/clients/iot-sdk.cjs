/**
 * The shadow client of AWS's device SDK on MQTT 3.1.1, driven by JSON lines. It runs in Node because it is native code.
 *
 *   node iot-sdk.cjs v1|v2 '{"host":…,"port":…,"cert":…,"key":…,"ca":…,"clientId":…,"thingName":…,"shadowName":…}'
 *
 * On stdin `{"call":"getShadow","request":{…}}`, its end disconnects. On stdout `{"type":"ready"}` once all is
 * subscribed, `{"type":"answer"}` or `{"type":"error"}` for each call, `{"type":"message"}` for what arrives by itself.
 */
const { createInterface } = require('node:readline');
const { iot, iotshadow, mqtt } = require('aws-iot-device-sdk-v2');

const [version, json] = process.argv.slice(2);
const { host, port, cert, key, ca, clientId, thingName, shadowName } = JSON.parse(json);
const names = { thingName, shadowName };

function emit(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function connectionTo() {
  const config = iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(cert, key)
    .with_certificate_authority_from_path(undefined, ca)
    .with_endpoint(host)
    .with_port(port)
    .with_client_id(clientId)
    .with_clean_session(true)
    .with_reconnect_min_sec(1)
    .with_reconnect_max_sec(1)
    .build();
  const connection = new mqtt.MqttClient().new_connection(config);
  for (const event of ['interrupt', 'resume']) connection.on(event, () => emit({ type: event }));
  connection.on('error', (error) => emit({ type: 'connection error', message: String(error) }));
  return connection;
}

/** Version 1 publishes and subscribes one by one; answers come as messages, a call is answered by its PUBACK. */
async function openV1(connection) {
  const client = new iotshadow.IotShadowClient(connection);
  const operations = ['Get', 'Update', 'Delete'].flatMap((verb) => [`${verb}Shadow`, `${verb}NamedShadow`]);
  const topics = operations.flatMap((operation) => [`${operation}Accepted`, `${operation}Rejected`]);
  topics.push('ShadowDeltaUpdatedEvents', 'NamedShadowDeltaUpdatedEvents');
  topics.push('ShadowUpdatedEvents', 'NamedShadowUpdatedEvents');
  for (const name of topics) {
    const subscribed = await client[`subscribeTo${name}`](names, mqtt.QoS.AtLeastOnce, (error, body) =>
      emit({ type: 'message', name, body, ...(error ? { error: error.message } : {}) }),
    );
    if (subscribed.error_code) throw new Error(`${name}: error ${subscribed.error_code}`);
  }
  return {
    call: async (name, request) => {
      await client[name]({ ...names, ...request }, mqtt.QoS.AtLeastOnce);
    },
    close: () => undefined,
  };
}

/** Names of `SubscriptionStatusEventType`. */
const statusNames = ['established', 'lost', 'halted'];

/** Version 2 matches answers by their client tokens; what a shadow causes by itself comes in streams. */
async function openV2(connection) {
  const client = iotshadow.IotShadowClientv2.newFromMqtt311(connection, {
    maxRequestResponseSubscriptions: 6,
    maxStreamingSubscriptions: 4,
    operationTimeoutInSeconds: 20,
  });
  for (const name of [
    'ShadowDeltaUpdated',
    'NamedShadowDeltaUpdated',
    'ShadowUpdated',
    'NamedShadowUpdated',
  ]) {
    const stream = client[`create${name}Stream`](names);
    const established = new Promise((resolve) => {
      stream.on('subscriptionStatus', ({ type }) => {
        emit({ type: 'status', name, status: statusNames[type] });
        resolve();
      });
    });
    stream.on('incomingPublish', ({ message }) =>
      emit({ type: 'message', name: `${name}Events`, body: message }),
    );
    stream.on('incomingPublishError', ({ error }) =>
      emit({ type: 'message', name: `${name}Events`, error: error.message }),
    );
    stream.open();
    await established;
  }
  return {
    call: (name, request) => client[name]({ ...names, ...request }),
    close: () => client.close(),
  };
}

async function main() {
  const connection = connectionTo();
  await connection.connect();
  const client = await (version === 'v1' ? openV1(connection) : openV2(connection));
  emit({ type: 'ready' });
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, call, request } = JSON.parse(line);
    client.call(call, request).then(
      (body) => emit({ type: 'answer', id, body }),
      (error) => emit({ type: 'error', id, message: error.message, body: error.modeledError }),
    );
  }
  client.close();
  await connection.disconnect();
  // Streams of version 2 keep the process alive, though they are closed.
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
