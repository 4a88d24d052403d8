import { expect, test } from 'bun:test';
import { loaderSpan, parseElfHead } from '../../src/core/elf.ts';

/** A program header of PT_INTERP behind one of another type, and the head that leads to them. */
function program(is64: boolean, isLittle: boolean, entrySize = is64 ? 56 : 32) {
  const head = Buffer.alloc(is64 ? 64 : 52);
  const table = Buffer.alloc(2 * entrySize);
  const of = ({ buffer, byteOffset, length }: Buffer) => new DataView(buffer, byteOffset, length);
  head.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, isLittle ? 1 : 2, 1]);
  of(head).setUint16(18, 62, isLittle);
  of(head).setUint16(is64 ? 54 : 42, entrySize, isLittle);
  of(head).setUint16(is64 ? 56 : 44, 2, isLittle);
  if (is64) of(head).setBigUint64(32, 4096n, isLittle);
  else of(head).setUint32(28, 4096, isLittle);
  of(table).setUint32(0, 1, isLittle);
  of(table).setUint32(entrySize, 3, isLittle);
  if (is64) of(table).setBigUint64(entrySize + 8, 700n, isLittle);
  else of(table).setUint32(entrySize + 4, 700, isLittle);
  if (is64) of(table).setBigUint64(entrySize + 32, 28n, isLittle);
  else of(table).setUint32(entrySize + 16, 28, isLittle);
  return { head, table };
}

test.each([
  [64, 'little', true, true],
  [64, 'big', true, false],
  [32, 'little', false, true],
  [32, 'big', false, false],
])('the loader of a program of %i bits, %s end first, is found', (_bits, _end, is64, isLittle) => {
  const { head, table } = program(is64, isLittle);
  const parsed = parseElfHead(head);
  expect(parsed).toMatchObject({ machine: 62, table: { offset: 4096, size: table.length } });
  expect(parsed && loaderSpan(parsed, table)).toEqual({ offset: 700, size: 28 });
});

test('what is no ELF, is cut short, or has no such header has no loader', () => {
  const { head, table } = program(true, true);
  const parsed = parseElfHead(head);
  expect(parseElfHead(Buffer.from('#!/bin/sh\n'))).toBeUndefined();
  expect(parseElfHead(head.subarray(0, 63))).toBeUndefined();
  expect(parseElfHead(Buffer.alloc(0))).toBeUndefined();
  expect(parsed && loaderSpan(parsed, table.subarray(0, -1))).toBeUndefined();
  expect(parsed && loaderSpan(parsed, Buffer.alloc(0))).toBeUndefined();
  for (const size of [0, 8]) {
    const odd = program(true, true, 56).head;
    odd.writeUInt16LE(size, 54);
    const strange = parseElfHead(odd);
    expect(strange && loaderSpan(strange, table)).toBeUndefined();
  }
});
