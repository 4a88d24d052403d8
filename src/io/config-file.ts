import { basename } from 'node:path';
import type { Problem } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { findSyntaxProblem } from '../core/json-syntax.ts';
import { readTextFile } from './text-file.ts';

/** Reads agent.json as far as that it is one JSON object. The problem's path is the file's. */
export async function readConfigFile(
  path: string,
): Promise<{ ok: true; value: JsonObject } | { ok: false; problem: Problem }> {
  const file = await readTextFile(path);
  if (!file.ok) return refuse(path, file.message, file.hint);
  if (file.text.trim() === '') {
    return refuse(path, 'is empty', 'write the configuration; `shadow-agent --help` lists its keys');
  }
  const syntax = findSyntaxProblem(file.text);
  if (syntax !== undefined) {
    const { line, column, message, hint } = syntax;
    return refuse(path, `is no JSON: line ${line}, column ${column}: ${message}`, hint);
  }
  const value: JsonValue = JSON.parse(file.text);
  if (isJsonObject(value)) return { ok: true, value };
  const what = Array.isArray(value) ? 'a list' : 'a single value';
  return refuse(path, `holds ${what}, not an object`, `${basename(path)} begins with { and ends with }`);
}

function refuse(path: string, message: string, hint: string): { ok: false; problem: Problem } {
  return { ok: false, problem: { path, message, hint } };
}
