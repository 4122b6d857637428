/** A CRC-32 as a manifest writes it. */
export function checksumText(crc32: number): string {
  return crc32.toString(16).padStart(8, '0');
}
