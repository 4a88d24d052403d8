import type { ErrorCode } from './errors.ts';

/** MQTT with a client certificate. Source: AWS IoT developer guide, protocols. */
export const mqttPort = 8883;
/** The same under ALPN `x-amzn-mqtt-ca`, for networks that let no more than HTTPS out. */
export const alpnPort = 443;

/** The ports that may be tried for an endpoint: the configured one alone, else both. */
export function portsOf({ port }: { port?: number }): readonly [number, ...number[]] {
  return port === undefined ? [mqttPort, alpnPort] : [port];
}

/** Keeps to the port that worked, and turns to the next one when it seems to be blocked. */
export class PortChoice {
  readonly #ports: readonly [number, ...number[]];
  #index = 0;

  constructor(ports: readonly [number, ...number[]]) {
    this.#ports = ports;
  }

  get current(): number {
    return this.#ports[this.#index] ?? this.#ports[0];
  }

  /**
   * Takes in why there was no connection. A broker that refuses the client has been reached: its port is not blocked.
   *
   * @returns the port that is tried next, where that is another one
   */
  failed(code: ErrorCode): number | undefined {
    if (code !== 'NETWORK' && code !== 'TIMEOUT') return undefined;
    const before = this.current;
    this.#index = (this.#index + 1) % this.#ports.length;
    return this.current === before ? undefined : this.current;
  }
}
