import * as v from 'valibot';
import type { Problem } from '../core/errors.ts';
import { type JsonObject, member } from '../core/json.ts';
import { type ForwardProxy, type ProxyRules, parseNoProxy } from '../io/proxy.ts';
import { parseProxy } from './grammar.ts';
import { entries } from './schema.ts';

/** Whether a configuration file lets whoever can read it use the proxy. */
export function holdsPassword(file: JsonObject): boolean {
  const { login } = resolveProxy(file, {}).rules.proxy ?? {};
  return login !== undefined && login.password.reveal() !== '';
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The key `proxy` leads everywhere; without it HTTPS_PROXY does, but to the hosts of NO_PROXY. As with curl the
 * lower-case names come first. HTTP_PROXY is for plain HTTP, which the agent does not speak.
 */
export function resolveProxy(raw: JsonObject, env: Environment): { rules: ProxyRules; problems: Problem[] } {
  if (Object.hasOwn(raw, 'proxy')) {
    // What is wrong with it is told by the schema.
    const configured = v.safeParse(entries.proxy, member(raw, 'proxy'));
    const proxy: ForwardProxy | undefined = configured.success ? configured.output : undefined;
    return { rules: { ...(proxy === undefined ? {} : { proxy }), except: [] }, problems: [] };
  }
  const name = ['https_proxy', 'HTTPS_PROXY'].find((candidate) => (env[candidate] ?? '') !== '');
  if (name === undefined) return { rules: { except: [] }, problems: [] };
  const except = parseNoProxy(env['no_proxy'] || env['NO_PROXY'] || '');
  const parsed = parseProxy(env[name] ?? '');
  if ('value' in parsed) return { rules: { proxy: parsed.value, except, variable: name }, problems: [] };
  const hint =
    'for example http://proxy:3128; unset it, or set "proxy" in the configuration, which outranks it';
  const problem = { path: name, message: `of the environment ${parsed.problem}`, hint };
  return { rules: { except }, problems: [problem] };
}
