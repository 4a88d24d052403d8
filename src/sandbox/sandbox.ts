import { mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { JsonObject } from '../core/json.ts';
import { type Broker, type BrokerOptions, startBroker } from './broker.ts';
import { startControlPlane } from './control-plane.ts';
import {
  type CredentialsProvider,
  type RoleAlias,
  startCredentialsProvider,
} from './credentials-provider.ts';
import { type DataPlane, startDataPlane } from './data-plane.ts';
import { Faults } from './faults.ts';
import { Lambdas } from './lambdas.ts';
import { openPki, type Pki } from './pki.ts';
import { type S3Server, startS3 } from './s3/server.ts';
import { type Session, Sessions } from './sessions.ts';
import { ShadowService } from './shadow-service.ts';
import { ThingGroups } from './thing-groups.ts';
import { type DeviceCertificate, Things } from './things.ts';
import type { TlsListener } from './tls-listener.ts';

export const region = 'us-east-1';
export const bucketName = '123456789012-iot-test-files';
export const roleAlias = 'iot-role-alias-s3-read';
/** The operator's keys; they open nothing but a sandbox. */
const operator = {
  accessKeyId: 'AKIASANDBOXOPERATOR0',
  secretAccessKey: 'sandbox-operator-secret-key-not-secret00',
};
/** The role of the functions. */
const lambda = {
  accessKeyId: 'AKIASANDBOXLAMBDA000',
  secretAccessKey: 'sandbox-lambda-secret-key-not-secret0000',
};

/** The ports of the services; 0 takes a free one. */
export interface Ports {
  mqtt: number;
  credentials: number;
  s3: number;
  dataPlane: number;
  controlPlane: number;
}

/** Starts a broker with the shadow service behind it; `dir` may keep what a restart of the broker must not lose. */
export type BrokerFactory = (options: BrokerOptions, dir: string) => Promise<Broker>;

export interface SandboxOptions {
  /** Where certificates, objects and devices live. */
  dir: string;
  ports?: Ports;
  /** Names in the servers' certificate besides those of loopback. */
  serverNames?: readonly string[];
  /** Default: `startBroker`, whose rules are those of AWS IoT Core. */
  startBroker?: BrokerFactory;
  log?: (line: string) => void;
}

/** What is told of a device in its agent.json. */
export interface DeviceOptions {
  files?: JsonObject[];
  /** Further keys of agent.json. */
  config?: JsonObject;
}

/** A device of the sandbox: its directory holds `agent.json`, certificate and key. */
export interface Device {
  thingName: string;
  dir: string;
  configPath: string;
  certificate: DeviceCertificate;
}

/**
 * AWS on loopback: broker with Device Shadow service, credentials provider, S3, the IoT data plane, and the functions
 * of src/cloud, all in this process. An upload to the bucket is published as its route says.
 */
export class Sandbox {
  readonly dir: string;
  readonly pki: Pki;
  readonly faults = new Faults();
  readonly sessions = new Sessions();
  readonly things = new Things();
  readonly shadows = new ShadowService();
  readonly roleAliases = new Map<string, RoleAlias>([[roleAlias, {}]]);
  readonly groups = new ThingGroups();
  readonly lambdas: Lambdas;
  readonly operator: Session;
  readonly #log: (line: string) => void;
  readonly #startBroker: BrokerFactory;
  #broker: Broker | undefined;
  #credentials: CredentialsProvider | undefined;
  #s3: S3Server | undefined;
  #dataPlane: DataPlane | undefined;
  #controlPlane: TlsListener | undefined;

  private constructor(options: SandboxOptions, pki: Pki) {
    this.dir = options.dir;
    this.pki = pki;
    this.#log = options.log ?? (() => undefined);
    this.#startBroker = options.startBroker ?? startBroker;
    this.operator = this.sessions.addLongTerm(operator.accessKeyId, operator.secretAccessKey);
    this.lambdas = new Lambdas({
      region,
      session: this.sessions.addLongTerm(lambda.accessKeyId, lambda.secretAccessKey),
      ca: pki.caCert,
      routes: [{ bucket: bucketName, prefix: '', target: 'things/test-thing', property: 's3' }],
      log: this.#log,
    });
  }

  /** Starts all services. Certificates that are already in the directory are used again. */
  static async start(options: SandboxOptions): Promise<Sandbox> {
    const sandbox = new Sandbox(
      options,
      await openPki(options.dir, { serverNames: options.serverNames ?? [] }),
    );
    const { pki, faults, sessions, things, shadows, roleAliases, groups, lambdas } = sandbox;
    const ports = options.ports ?? { mqtt: 0, credentials: 0, s3: 0, dataPlane: 0, controlPlane: 0 };
    const log = sandbox.#log;
    try {
      await sandbox.#openBroker(ports.mqtt);
      sandbox.#credentials = await startCredentialsProvider({
        pki,
        things,
        sessions,
        faults,
        roleAliases,
        port: ports.credentials,
      });
      sandbox.#s3 = await startS3({
        sessions,
        faults,
        region,
        tls: pki.server,
        dir: join(options.dir, 's3'),
        port: ports.s3,
        log,
        onObjectCreated: (event) => lambdas.handle(event),
      });
      sandbox.#dataPlane = await startDataPlane({ pki, shadows, sessions, faults, port: ports.dataPlane });
      sandbox.#controlPlane = await startControlPlane({
        pki,
        sessions,
        groups,
        queue: lambdas.queue,
        port: ports.controlPlane,
      });
      lambdas.connect(sandbox.endpoints);
    } catch (error) {
      await sandbox.close();
      throw error;
    }
    sandbox.s3.store.createBucket(bucketName, { versioned: false });
    return sandbox;
  }

  get broker(): Broker {
    return started(this.#broker);
  }
  get credentials(): CredentialsProvider {
    return started(this.#credentials);
  }
  get s3(): S3Server {
    return started(this.#s3);
  }
  get dataPlane(): DataPlane {
    return started(this.#dataPlane);
  }

  /** Origins of the services that are reached with AWS's clients. */
  get endpoints() {
    const at = (port: number) => `https://127.0.0.1:${port}`;
    const controlPlane = started(this.#controlPlane);
    return { s3: this.s3.url, dataPlane: at(this.dataPlane.port), controlPlane: at(controlPlane.port) };
  }

  /** Registers a thing with a certificate of its own, and writes its `agent.json`. */
  async device(thingName: string, options: DeviceOptions = {}): Promise<Device> {
    const dir = join(this.dir, 'things', thingName);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { cert, key } = await this.pki.issueDevice(thingName);
    const certificate = this.things.register(cert, { things: [thingName] });
    await writeFile(join(dir, 'certificate.pem'), cert);
    await writeFile(join(dir, 'private.key'), key, { mode: 0o600 });
    const configPath = join(dir, 'agent.json');
    const config = { ...this.#deviceConfig(thingName, dir), ...options.config };
    if (options.files !== undefined) config['files'] = options.files;
    await writeFile(configPath, `${JSON.stringify(config, null, 2)}\n`);
    return { thingName, dir, configPath, certificate };
  }

  #deviceConfig(thingName: string, dir: string): JsonObject {
    const ca = relative(dir, join(this.dir, 'ca.pem'));
    return {
      thingName,
      endpoint: `127.0.0.1:${this.broker.port}`,
      credentialEndpoint: `127.0.0.1:${this.credentials.port}/role-aliases/${roleAlias}/credentials`,
      cert: 'certificate.pem',
      key: 'private.key',
      ca,
      s3: { region, endpoint: this.s3.url, ca },
      files: [{ property: 's3', path: 'tmpfile', allow: [`s3://${bucketName}/`] }],
    };
  }

  /** Writes to the desired state, as an operator does. @throws Error when the shadow service refuses it */
  desire(thingName: string, desired: JsonObject, shadowName?: string): void {
    const payload = new TextEncoder().encode(JSON.stringify({ state: { desired } }));
    const reply = this.shadows.update(thingName, shadowName, payload);
    if (!reply.ok) throw new Error(`${reply.code} ${reply.message}`);
  }

  /** The shadow document, as `get/accepted` has it; undefined where there is none. */
  shadow(thingName: string, shadowName?: string): JsonObject | undefined {
    const reply = this.shadows.get(thingName, shadowName);
    return reply.ok ? reply.body : undefined;
  }

  /** Ends the broker and starts it again on the same port, as a restart or a network cut looks to a device. */
  async restartBroker(whileDown: () => Promise<void> = async () => undefined): Promise<void> {
    const { port } = this.broker;
    await this.broker.close();
    await whileDown();
    await this.#openBroker(port);
  }

  async #openBroker(port: number): Promise<void> {
    const { pki, shadows, faults, things, dir } = this;
    this.#broker = await this.#startBroker({ pki, shadows, faults, things, log: this.#log, port }, dir);
  }

  /** Ends all services and drops their connections. */
  async close(): Promise<void> {
    await this.lambdas.close();
    await Promise.all(
      [this.#controlPlane, this.#broker, this.#credentials, this.#s3, this.#dataPlane].map((one) =>
        one?.close(),
      ),
    );
  }
}

function started<T>(service: T | undefined): T {
  if (service === undefined) throw new Error('the sandbox is not started');
  return service;
}
