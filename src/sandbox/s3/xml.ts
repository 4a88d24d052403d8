import { XMLParser } from 'fast-xml-parser';
import * as v from 'valibot';
import { S3Error } from './errors.ts';

/** An element by name; an array repeats the element, undefined leaves it out. */
export interface XmlTree {
  [element: string]: XmlContent | XmlContent[];
}
export type XmlContent = string | number | boolean | undefined | XmlTree;

const namespace = 'http://s3.amazonaws.com/doc/2006-03-01/';

/** Writes a document of S3; only its results, not its errors, are in the namespace. */
export function writeXml(root: string, content: string | XmlTree, options = { namespaced: true }): string {
  const attribute = options.namespaced ? ` xmlns="${namespace}"` : '';
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root}${attribute}>${writeContent(content)}</${root}>`;
}

function writeContent(content: XmlContent): string {
  if (typeof content !== 'object') return escapeXml(String(content ?? ''));
  return Object.entries(content)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => ({ name, one })))
    .filter(({ one }) => one !== undefined)
    .map(({ name, one }) => `<${name}>${writeContent(one)}</${name}>`)
    .join('');
}

/** Control characters, which keys may hold, become references as S3 writes them: XML 1.0 has no better way. */
function escapeXml(text: string): string {
  return text.replace(/[&<>"\p{Cc}]/gu, (character) => {
    const named = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\n': '\n' }[character];
    return named ?? `&#x${character.charCodeAt(0).toString(16)};`;
  });
}

const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  htmlEntities: true,
});

/** Parses a request document; MalformedXML when it is not well-formed or not of that shape. */
export function parseXml<Schema extends v.GenericSchema>(
  text: string,
  schema: Schema,
): v.InferOutput<Schema> {
  if (text.includes('<!DOCTYPE')) throw new S3Error('MalformedXML');
  let document: unknown;
  try {
    document = parser.parse(text, true);
  } catch {
    throw new S3Error('MalformedXML');
  }
  const parsed = v.safeParse(schema, document);
  if (!parsed.success) throw new S3Error('MalformedXML');
  return parsed.output;
}

/** Schema of an element that may be there once (the parser then yields it bare) or many times. */
export function repeated<Item extends v.GenericSchema>(item: Item) {
  return v.pipe(
    v.unknown(),
    v.transform((value) => (Array.isArray(value) ? value : [value])),
    v.array(item),
  );
}
