/**
 * The part of the Reflect metadata proposal that `@peculiar/x509` asks for when it is loaded (its container,
 * tsyringe, refuses to start without). Import this module before that one.
 */
const metadata = new WeakMap<object, Map<unknown, unknown>>();

function defineMetadata(key: unknown, value: unknown, target: object): void {
  const own = metadata.get(target) ?? new Map<unknown, unknown>();
  own.set(key, value);
  metadata.set(target, own);
}

function getOwnMetadata(key: unknown, target: object): unknown {
  return metadata.get(target)?.get(key);
}

function getMetadata(key: unknown, target: object): unknown {
  for (let holder: object | null = target; holder !== null; holder = Object.getPrototypeOf(holder)) {
    if (metadata.get(holder)?.has(key)) return getOwnMetadata(key, holder);
  }
  return undefined;
}

Object.assign(Reflect, { defineMetadata, getOwnMetadata, getMetadata });
