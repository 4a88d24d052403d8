import type { JsonObject, JsonValue } from '../../src/core/json.ts';

/** The clock of each case starts here and goes on by a second with every step. */
export const T = 1_700_000_000;

export interface Step {
  /** Body of an update; text is sent as it stands. */
  update?: JsonValue | Uint8Array;
  delete?: JsonObject | string;
  get?: JsonObject | string;
  /** Lets this many hours pass before the step. */
  afterHours?: number;
  named?: string;
  /** Expected, each compared in full when present; null: nothing of the kind. */
  accepted?: JsonObject;
  rejected?: { code: number; message: string; clientToken?: string };
  delta?: JsonObject | null;
  documents?: JsonObject;
  /** Of get/accepted after the step, without the members it does not name. */
  shown?: { state?: JsonValue; metadata?: JsonValue; version?: number } | null;
}

export interface Case {
  rule: string;
  /** Who says so. */
  source: string;
  steps: Step[];
}

/** Metadata of a leaf. */
export const at = (timestamp: number) => ({ timestamp });

/** A state whose sections are equal. */
export const inSync = { state: { desired: { a: 1 }, reported: { a: 1 } } };
