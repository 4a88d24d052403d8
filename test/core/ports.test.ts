import { describe, expect, test } from 'bun:test';
import { PortChoice, portsOf } from '../../src/core/ports.ts';

test('a configured port is the only one; without one it is 8883 or 443', () => {
  expect(portsOf({ port: 443 })).toEqual([443]);
  expect(portsOf({ port: 1 })).toEqual([1]);
  expect(portsOf({})).toEqual([8883, 443]);
});

describe('the choice of a port', () => {
  test('turns to the other one at each failure to connect, and stays with the one that works', () => {
    const choice = new PortChoice(portsOf({}));
    expect(choice.current).toBe(8883);
    expect(choice.failed('NETWORK')).toBe(443);
    expect(choice.current).toBe(443);
    expect(choice.failed('TIMEOUT')).toBe(8883);
    expect([choice.current, choice.current]).toEqual([8883, 8883]);
  });

  test('does not take a broker that refuses the client for a port that is blocked', () => {
    const choice = new PortChoice(portsOf({}));
    expect(choice.failed('MQTT')).toBeUndefined();
    expect(choice.current).toBe(8883);
  });

  test('has nothing to turn to where there is one port', () => {
    const choice = new PortChoice(portsOf({ port: 9000 }));
    expect(choice.failed('NETWORK')).toBeUndefined();
    expect(choice.current).toBe(9000);
  });
});
