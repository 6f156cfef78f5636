/* Whole blocks of cells in one call: padding, sealing, opening, unpadding (SPEC section 7).
 *
 * No cipher is in here: AES-256-GCM is libsodium's, whose functions the caller hands over.
 *
 * What time may depend on: how many cells there are, the lengths to which they are padded, which
 * are erased, and whether a block opened; all of these a server sees too. Padding and unpadding
 * take no branch on anything else, neither on values nor on their exact lengths nor on which are null
 * (tests/native/constant_time.c). Left over: values lie joined, so where the next one is read or
 * written follows from the lengths before it, as does how near the end of all values a cell is,
 * where reading has to stop.
 *
 * `sealroom_rows_of_few` is the exception: to count distinct values it looks them up by their
 * bytes, as a set of Python does. It runs where the table is anyway, before anything is sealed,
 * and what it finds is what the padding mode tells everybody.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loop.h"

#define KEY_BYTES 32u
#define TAG_BYTES 16u
#define LENGTH_BYTES 4u
#define STEP 16u            /* padded cells are multiples of it, and it takes one load */
#define TERMINATOR 0x80u
#define SLOTS 1024u         /* four times as many as values are kept: short runs */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BIG_ENDIAN_MACHINE 1
#else
#define BIG_ENDIAN_MACHINE 0
#endif

static const unsigned char NONCE[12];

/* A memset that no compiler leaves out because nobody reads what it wrote. */
static void *(*const volatile wipe)(void *, int, size_t) = memset;

/* --- little-endian integers, on any machine */

static uint64_t load_u64(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
#if BIG_ENDIAN_MACHINE
    word = __builtin_bswap64(word);
#endif
    return word;
}

static uint32_t load_u32(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
#if BIG_ENDIAN_MACHINE
    word = __builtin_bswap32(word);
#endif
    return word;
}

static void store_u32(uint8_t *to, uint32_t word)
{
#if BIG_ENDIAN_MACHINE
    word = __builtin_bswap32(word);
#endif
    memcpy(to, &word, sizeof word);
}

/* --- without branches: all ones where it holds, else zero */

static uint64_t mask_nonzero(uint64_t word)
{
    return 0 - ((word | (0 - word)) >> 63);
}

static uint64_t mask_less(uint64_t one, uint64_t other)
{
    /* both below 2^63 */
    return 0 - ((one - other) >> 63);
}

/* --- sizes */

static uint64_t round_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) & ~(unit - 1);
}

static uint64_t power_of_two(uint64_t size, uint64_t least)
{
    while (least < size)
        least <<= 1;
    return least;
}

static int is_power_of_two(uint64_t size)
{
    return size != 0 && (size & (size - 1)) == 0;
}

/* A column's shape, once for all cells: after it no offset leads out of the values. */
static int fits(const sealroom_column *column)
{
    uint64_t at = 0, wrong = 0;

    if (column->count >= UINT32_MAX || column->values_bytes >= UINT32_MAX)
        return 0;
    if (column->offsets[0] != 0)
        return 0;
    for (uint64_t i = 0; i < column->count; i++) {
        uint64_t end = (uint64_t)column->offsets[i + 1];
        uint64_t null = ~mask_nonzero(column->valid[i]);
        wrong |= (uint64_t)(end < at) | (null & (end ^ at));
        at = end;
    }
    return wrong == 0 && at == column->values_bytes;
}

static uint64_t need_of(const sealroom_column *column, uint64_t i)
{
    return (uint64_t)(column->offsets[i + 1] - column->offsets[i]) + 1;
}

int sealroom_measure(const sealroom_column *column, uint64_t unit, uint64_t power_least,
                     sealroom_needs *needs)
{
    sealroom_needs found = {0, 0, 0, 0};

    if (!fits(column) || !is_power_of_two(unit) || !is_power_of_two(power_least))
        return SEALROOM_MISFIT;
    for (uint64_t i = 0; i < column->count; i++) {
        uint64_t need = need_of(column, i);
        uint64_t longer = mask_less(found.longest, need);
        found.rounded += round_up(need, unit);
        found.longest = (need & longer) | (found.longest & ~longer);
        found.position = (i & longer) | (found.position & ~longer);
    }
    for (uint64_t i = 0; i < column->count && found.longest > power_least; i++)
        found.powers += power_of_two(need_of(column, i), power_least);
    if (found.longest <= power_least)
        found.powers = column->count * power_least;
    *needs = found;
    return SEALROOM_DONE;
}

/* --- few values */

static uint64_t hash_of(const uint8_t *value, uint64_t length)
{
    uint64_t hash = length * 0x9E3779B97F4A7C15u;

    for (; length >= 8; value += 8, length -= 8) {
        hash = (hash ^ load_u64(value)) * 0xBF58476D1CE4E5B9u;
        hash ^= hash >> 32;
    }
    for (; length; value++, length--)
        hash = (hash ^ *value) * 0x94D049BB133111EBu;
    return hash ^ hash >> 29;
}

int sealroom_rows_of_few(const sealroom_column *column, uint64_t most, uint64_t *rows)
{
    uint64_t hashes[SLOTS];
    uint32_t holders[SLOTS]; /* the cell that brought the value, and one; 0 where there is none */
    uint64_t distinct = 0, nulls = 0, i;

    if (!fits(column) || most > SLOTS / 4)
        return SEALROOM_MISFIT;
    memset(holders, 0, sizeof holders);
    for (i = 0; i < column->count; i++) {
        uint64_t length = need_of(column, i) - 1, hash, slot;
        const uint8_t *value = column->values + column->offsets[i];

        if (!column->valid[i]) {
            distinct += nulls == 0;
            nulls = 1;
        } else {
            hash = hash_of(value, length);
            for (slot = hash % SLOTS; holders[slot]; slot = (slot + 1) % SLOTS) {
                uint64_t holder = holders[slot] - 1;
                if (hashes[slot] == hash && need_of(column, holder) - 1 == length &&
                    memcmp(column->values + column->offsets[holder], value, length) == 0)
                    break;
            }
            if (!holders[slot]) {
                hashes[slot] = hash;
                holders[slot] = (uint32_t)i + 1;
                distinct++;
            }
        }
        if (distinct > most)
            break;
    }
    *rows = i;
    wipe(hashes, 0, sizeof hashes); /* they tell of the values */
    return SEALROOM_DONE;
}

/* --- padding on */

/* What is left of a value at a step, as `pad_step` takes it. */
static int8_t left_of(uint64_t length, uint64_t at)
{
    int64_t rest = (int64_t)length - (int64_t)at;
    uint64_t full = mask_less(at + STEP, length), ended = mask_less(length, at);
    return (int8_t)(((uint64_t)rest & ~full & ~ended) | (STEP & full) | ended);
}

typedef int8_t lanes __attribute__((vector_size(STEP)));

static const lanes LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* One step of a padded cell, from that of its value: `left` bytes of the value, the terminator,
 * zeros. From STEP on the value fills the step, below 0 it ended before. */
static void pad_step(uint8_t *to, const uint8_t *from, int8_t left, int8_t terminator)
{
    lanes step, ends = (lanes){0} + left;

    memcpy(&step, from, STEP);
    step = (step & (LANE < ends)) | (((lanes){0} + terminator) & (LANE == ends));
    memcpy(to, &step, STEP);
}

/* The same where fewer than STEP bytes may be read from the value on. */
static void pad_last_step(uint8_t *to, const uint8_t *from, uint64_t readable, int8_t left,
                          int8_t terminator)
{
    uint8_t step[STEP] = {0};

    memcpy(step, from, (size_t)readable);
    pad_step(to, step, left, terminator);
    wipe(step, 0, STEP);
}

/* Pad one value to `size` bytes, a multiple of STEP above `length`. The value has `filled` bytes
 * or more, also a multiple of STEP. `readable` says how many may be read from its start: mostly
 * the next cell's follow, and are masked. */
static void pad_cell(uint8_t *to, uint64_t size, const uint8_t *value, uint64_t length,
                     uint64_t filled, uint64_t readable, int8_t terminator)
{
    uint64_t at = 0;

    for (; at < filled; at += STEP)
        memcpy(to + at, value + at, STEP);
    for (; at < size && at + STEP <= readable; at += STEP)
        pad_step(to + at, value + at, left_of(length, at), terminator);
    for (; at < size; at += STEP) {
        uint64_t rest = at < readable ? readable - at : 0;
        pad_last_step(to + at, rest ? value + at : to, rest, left_of(length, at), terminator);
    }
}

static uint64_t padded_size(uint64_t need, const sealroom_shape *shape)
{
    if (shape->width)
        return shape->width;
    return shape->unit ? round_up(need, shape->unit) : power_of_two(need, shape->power_least);
}

static int is_shape(const sealroom_shape *shape)
{
    return shape->width % STEP == 0 && shape->unit % STEP == 0 &&
           (shape->unit == 0 || is_power_of_two(shape->unit)) && shape->power_least % STEP == 0 &&
           is_power_of_two(shape->power_least);
}

int sealroom_pad(const sealroom_column *column, const sealroom_shape *shape, const uint8_t *erased,
                 uint64_t records, uint8_t *plaintext, uint64_t plaintext_bytes)
{
    uint64_t at = LENGTH_BYTES * records, cell = 0;

    if (!fits(column) || !is_shape(shape) || records >= UINT32_MAX || at > plaintext_bytes)
        return SEALROOM_MISFIT;
    for (uint64_t i = 0; i < records; i++) {
        uint64_t start, need, size;

        if (erased && erased[i]) {
            store_u32(plaintext + LENGTH_BYTES * i, 0);
            continue;
        }
        if (cell == column->count)
            return SEALROOM_MISFIT;
        start = (uint64_t)column->offsets[cell];
        need = need_of(column, cell);
        size = padded_size(need, shape);
        if (need > size || size > plaintext_bytes - at)
            return SEALROOM_MISFIT;
        store_u32(plaintext + LENGTH_BYTES * i, (uint32_t)size);
        pad_cell(plaintext + at, size, column->values + start, need - 1,
                 shape->width || !shape->unit ? 0 : size - shape->unit,
                 column->values_bytes - start,
                 (int8_t)(TERMINATOR & mask_nonzero(column->valid[cell])));
        at += size;
        cell++;
    }
    return at == plaintext_bytes && cell == column->count ? SEALROOM_DONE : SEALROOM_MISFIT;
}

/* --- sealing */

/* What a key is expanded into; as libsodium declares it. */
typedef struct {
    _Alignas(16) unsigned char opaque[512];
} cipher_state;

static int seal_cell(const sealroom_cipher *cipher, cipher_state *state, const uint8_t *key,
                     const uint8_t *padded, uint64_t size, uint8_t *sealed)
{
    return cipher->expand(state, key) ||
           cipher->encrypt(sealed, sealed + size, NULL, padded, size, NULL, 0, NULL, NONCE, state);
}

static int seal_cells(const sealroom_cipher *cipher, cipher_state *state, const uint8_t *plaintext,
                      uint64_t plaintext_bytes, uint64_t records, const uint8_t *keys,
                      uint8_t *block, uint64_t block_bytes)
{
    uint64_t from = LENGTH_BYTES * records, to = from;

    for (uint64_t i = 0; i < records; i++) {
        uint64_t size = load_u32(plaintext + LENGTH_BYTES * i);
        uint64_t made = size ? size + TAG_BYTES : 0;

        if (size % STEP || size > plaintext_bytes - from || made > block_bytes - to)
            return SEALROOM_MISFIT;
        store_u32(block + LENGTH_BYTES * i, (uint32_t)made);
        if (!size)
            continue;
        if (seal_cell(cipher, state, keys + KEY_BYTES * i, plaintext + from, size, block + to))
            return SEALROOM_FAILED;
        from += size;
        to += made;
    }
    return from == plaintext_bytes && to == block_bytes ? SEALROOM_DONE : SEALROOM_MISFIT;
}

int sealroom_seal(const sealroom_cipher *cipher, uint8_t *plaintext, uint64_t plaintext_bytes,
                  uint64_t records, uint8_t *keys, uint64_t keys_bytes, uint8_t *block,
                  uint64_t block_bytes)
{
    cipher_state state;
    int answer = SEALROOM_MISFIT;

    if (records < UINT32_MAX && LENGTH_BYTES * records <= plaintext_bytes &&
        LENGTH_BYTES * records <= block_bytes && keys_bytes == KEY_BYTES * records)
        answer = seal_cells(cipher, &state, plaintext, plaintext_bytes, records, keys, block,
                            block_bytes);
    if (answer != SEALROOM_DONE)
        wipe(block, 0, (size_t)block_bytes);
    wipe(&state, 0, sizeof state);
    wipe(plaintext, 0, (size_t)plaintext_bytes);
    wipe(keys, 0, (size_t)keys_bytes);
    return answer;
}

/* --- opening */

static uint32_t is_no_length(uint32_t length)
{
    return (length % STEP != 0) | (length - 1 < STEP + TAG_BYTES - 1); /* 0 wraps around */
}

/* The lengths at the head of a block: of sealed cells, adding up to it, empty where erased, and of
 * no more padded bytes than there is room for. */
static int check_lengths(const uint8_t *block, uint64_t block_bytes, uint64_t records,
                         const uint8_t *erased, uint64_t values_room, uint64_t *position)
{
    uint64_t sum = LENGTH_BYTES * records, present = 0;
    uint32_t wrong = 0, other = 0;

    /* No early end, so that it takes several at a time. */
    for (uint64_t i = 0; i < records; i++) {
        uint32_t length = load_u32(block + LENGTH_BYTES * i);
        wrong |= is_no_length(length);
        sum += length;
    }
    if (wrong) {
        for (*position = 0; !is_no_length(load_u32(block + LENGTH_BYTES * *position));)
            ++*position;
        return SEALROOM_LENGTH;
    }
    if (sum != block_bytes)
        return SEALROOM_SUM;
    for (uint64_t i = 0; i < records; i++) {
        uint32_t expected = erased ? erased[i] != 0 : 0;
        other |= expected ^ (load_u32(block + LENGTH_BYTES * i) == 0);
        present += !expected;
    }
    if (other)
        return SEALROOM_EMPTY;
    sum -= (LENGTH_BYTES * records) + TAG_BYTES * present;
    return sum <= values_room ? SEALROOM_DONE : SEALROOM_MISFIT;
}

static uint64_t least(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

/* What is found at the end of a padded cell. */
typedef struct {
    uint64_t length;          /* of the value; 0 for a null */
    uint64_t valid;           /* all ones, or 0 for a null */
    uint64_t wrong;           /* not 0 where no terminator ends the value */
} unpadded;

static unpadded unpad_cell(const uint8_t *padded, uint64_t from, uint64_t size)
{
    uint64_t top = 0, start = 0, byte;
    unpadded found;

    /* the last word that is not zero, two at a time */
    for (uint64_t at = from; at < size; at += STEP) {
        uint64_t low = load_u64(padded + at), high = load_u64(padded + at + 8);
        uint64_t in_high = mask_nonzero(high), here = mask_nonzero(low | high);
        top = (((high & in_high) | (low & ~in_high)) & here) | (top & ~here);
        start = ((at + (8 & in_high)) & here) | (start & ~here);
    }
    byte = (uint64_t)(63 - __builtin_clzll(top | 1)) / 8; /* the last of it that is not zero */
    found.valid = mask_nonzero(top);
    found.wrong = found.valid & ((top >> (8 * byte)) ^ TERMINATOR);
    found.length = found.valid & (start + byte);
    return found;
}

/* The first cell that is not padded to the length of a UNIFORM block, or the number of records. */
static uint64_t first_not_uniform(const uint8_t *block, uint64_t records, const int64_t *offsets,
                                  const sealroom_rules *rules, int some_erased)
{
    uint64_t longest = 0, widest = 0, width;

    for (uint64_t i = 0; i < records; i++) {
        uint64_t length = load_u32(block + LENGTH_BYTES * i);
        uint64_t need = (uint64_t)(offsets[i + 1] - offsets[i]) + 1, longer;

        if (!length)
            continue;
        longer = mask_less(longest, need);
        longest = (need & longer) | (longest & ~longer);
        if (length - TAG_BYTES > widest)
            widest = length - TAG_BYTES;
    }
    width = round_up(longest, rules->unit);
    /* The longest may have been erased, so that the one length is more than the rest need. */
    if (some_erased)
        width = widest > rules->uniform_most || widest % rules->unit == 0 ? widest : 0;
    for (uint64_t i = 0; i < records; i++) {
        uint64_t length = load_u32(block + LENGTH_BYTES * i);
        uint64_t need = (uint64_t)(offsets[i + 1] - offsets[i]) + 1;
        uint64_t right =
            width <= rules->uniform_most ? width : power_of_two(need, rules->uniform_most);

        if (length && length - TAG_BYTES != right)
            return i;
    }
    return records;
}

static int open_cell(const sealroom_cipher *cipher, cipher_state *state, const uint8_t *key,
                     const uint8_t *sealed, uint64_t size, uint8_t *padded)
{
    return cipher->expand(state, key) ||
           cipher->decrypt(padded, NULL, sealed, size, sealed + size, NULL, 0, NONCE, state);
}

static int open_cells(const sealroom_cipher *cipher, cipher_state *state, const uint8_t *block,
                      uint64_t records, const uint8_t *keys, const sealroom_rules *rules,
                      uint8_t *values, int64_t *offsets, uint8_t *valid, uint64_t *position)
{
    uint64_t from = LENGTH_BYTES * records, to = 0;
    uint64_t bad_end = records, too_long = records, bad_size = records;
    /* copies, because a store to the values might change what is pointed to */
    const uint64_t unit = rules->unit, longest = rules->longest_value, uniform = rules->uniform;
    const uint64_t scanned = uniform ? UINT64_MAX : unit;
    const sealroom_cipher own = *cipher;
    int some_erased = 0;

    offsets[0] = 0;
    for (uint64_t i = 0; i < records; i++) {
        uint64_t length = load_u32(block + LENGTH_BYTES * i);

        valid[i] = 0;
        if (length) {
            uint64_t size = length - TAG_BYTES;
            unpadded cell;

            /* Its padding lands where the next value will: values never outgrow their cells. */
            if (open_cell(&own, state, keys + KEY_BYTES * i, block + from, size, values + to)) {
                *position = i;
                return SEALROOM_REFUSED;
            }
            /* The padding of text is shorter than the unit. */
            cell = unpad_cell(values + to, size - least(size, scanned), size);
            if (!cell.valid && size > scanned) /* or it is wrong: how, tells the rest of it */
                cell = unpad_cell(values + to, 0, size);
            if (cell.wrong)
                bad_end = least(bad_end, i);
            if (cell.length > longest)
                too_long = least(too_long, i);
            if (!uniform && size != round_up(cell.length + 1, unit))
                bad_size = least(bad_size, i);
            valid[i] = (uint8_t)(cell.valid & 1);
            from += length;
            to += cell.length;
        } else {
            some_erased = 1;
        }
        offsets[i + 1] = (int64_t)to;
    }
    if (rules->uniform && bad_end == records && too_long == records)
        bad_size = first_not_uniform(block, records, offsets, rules, some_erased);
    *position = bad_end < records ? bad_end : too_long < records ? too_long : bad_size;
    return *position < records ? SEALROOM_PADDING : SEALROOM_DONE;
}

int sealroom_open(const sealroom_cipher *cipher, const uint8_t *block, uint64_t block_bytes,
                  uint64_t records, uint8_t *keys, uint64_t keys_bytes, const uint8_t *erased,
                  const sealroom_rules *rules, uint8_t *values, uint64_t values_room,
                  int64_t *offsets, uint8_t *valid, uint64_t *position)
{
    cipher_state state;
    int answer = SEALROOM_MISFIT;

    if (records < UINT32_MAX && LENGTH_BYTES * records <= block_bytes &&
        keys_bytes == KEY_BYTES * records && is_power_of_two(rules->unit) &&
        is_power_of_two(rules->uniform_most))
        answer = check_lengths(block, block_bytes, records, erased, values_room, position);
    if (answer == SEALROOM_DONE)
        answer = open_cells(cipher, &state, block, records, keys, rules, values, offsets, valid,
                            position);
    if (answer != SEALROOM_DONE) {
        wipe(values, 0, (size_t)values_room);
        wipe(offsets, 0, (size_t)(records + 1) * sizeof *offsets);
        wipe(valid, 0, (size_t)records);
    }
    wipe(&state, 0, sizeof state);
    wipe(keys, 0, (size_t)keys_bytes);
    return answer;
}

/* --- for measurements only */

static int is_bare(uint64_t cells_bytes, uint64_t sealed_bytes, uint64_t count,
                   uint64_t keys_bytes)
{
    return count != 0 && count < UINT32_MAX && cells_bytes % count == 0 &&
           sealed_bytes == cells_bytes + TAG_BYTES * count && keys_bytes == KEY_BYTES * count;
}

int sealroom_bare_seal(const sealroom_bare *bare, const uint8_t *cells, uint64_t cells_bytes,
                       uint64_t count, const uint8_t *keys, uint64_t keys_bytes, uint8_t *sealed,
                       uint64_t sealed_bytes)
{
    int failed = 0;

    if (!is_bare(cells_bytes, sealed_bytes, count, keys_bytes))
        return SEALROOM_MISFIT;
    for (uint64_t i = 0, size = cells_bytes / count; i < count; i++)
        failed |= bare->seal(sealed + (size + TAG_BYTES) * i, NULL, cells + size * i, size, NULL,
                             0, NULL, NONCE, keys + KEY_BYTES * i);
    return failed ? SEALROOM_FAILED : SEALROOM_DONE;
}

int sealroom_bare_open(const sealroom_bare *bare, const uint8_t *sealed, uint64_t sealed_bytes,
                       uint64_t count, const uint8_t *keys, uint64_t keys_bytes, uint8_t *cells,
                       uint64_t cells_bytes)
{
    int failed = 0;

    if (!is_bare(cells_bytes, sealed_bytes, count, keys_bytes))
        return SEALROOM_MISFIT;
    for (uint64_t i = 0, size = cells_bytes / count; i < count; i++)
        failed |= bare->open(cells + size * i, NULL, NULL, sealed + (size + TAG_BYTES) * i,
                             size + TAG_BYTES, NULL, 0, NONCE, keys + KEY_BYTES * i);
    return failed ? SEALROOM_REFUSED : SEALROOM_DONE;
}
