/* What the compiled loop offers: whole blocks of cells, one call each (SPEC section 7).
 *
 * client/crypto/engines/compiled.py is the only caller, and cffi reads its declarations from this
 * very file; so there is nothing here that a preprocessor would have to expand.
 *
 * Nothing is allocated here and nothing is kept. Whatever is read or written is handed over with
 * its size in bytes, and no index leaves it: a size that does not fit the buffers is answered
 * with SEALROOM_MISFIT, and is a mistake of the caller's. Buffers do not overlap.
 */

/* libsodium's crypto_aead_aes256gcm_beforenm, _encrypt_detached_afternm and
 * _decrypt_detached_afternm: a key is expanded into a state of the caller's, whose 512 bytes are
 * wiped once a block and not once a cell. */
typedef struct {
    int (*expand)(void *state, const unsigned char *key);
    int (*encrypt)(unsigned char *sealed, unsigned char *tag, unsigned long long *tag_bytes,
                   const unsigned char *cell, unsigned long long cell_bytes,
                   const unsigned char *associated, unsigned long long associated_bytes,
                   const unsigned char *secret_nonce, const unsigned char *nonce,
                   const void *state);
    int (*decrypt)(unsigned char *cell, unsigned char *secret_nonce, const unsigned char *sealed,
                   unsigned long long sealed_bytes, const unsigned char *tag,
                   const unsigned char *associated, unsigned long long associated_bytes,
                   const unsigned char *nonce, const void *state);
} sealroom_cipher;

enum sealroom_answer {
    SEALROOM_DONE = 0,
    SEALROOM_MISFIT = 1,      /* sizes that do not fit the buffers: nothing was done */
    SEALROOM_FAILED = 2,      /* the cipher refused to seal: what was written is wiped */
    SEALROOM_LENGTH = 3,      /* a length that no sealed cell has */
    SEALROOM_SUM = 4,         /* lengths that do not add up to the block */
    SEALROOM_EMPTY = 5,       /* other cells are empty than were erased */
    SEALROOM_REFUSED = 6,     /* a cell that does not authenticate */
    SEALROOM_PADDING = 7      /* a cell padded otherwise than its mode says */
};

/* One column: cell i is values[offsets[i] .. offsets[i + 1]) where valid[i] is not 0, else null.
 * offsets has count + 1 entries, valid has count. */
typedef struct {
    const uint8_t *values;
    uint64_t values_bytes;
    const int64_t *offsets;
    const uint8_t *valid;
    uint64_t count;
} sealroom_column;

/* What cells need: a value and its terminator each, 1 for a null. */
typedef struct {
    uint64_t longest;         /* the most that one needs, in bytes; 0 without any */
    uint64_t position;        /* the first that needs so much */
    uint64_t rounded;         /* the sum, each rounded up to the unit */
    uint64_t powers;          /* the sum, each the power of two of a UNIFORM block */
} sealroom_needs;

/* How the cells of a block are padded: all to width, or where that is 0 each to a multiple of unit,
 * or where that is 0 too to a power of two of at least power_least. */
typedef struct {
    uint64_t width;
    uint64_t unit;
    uint64_t power_least;
} sealroom_shape;

/* Which lengths are right in a block that is opened. uniform is not 0 in that mode; longest_value
 * is the most bytes that a value may have, uniform_most the most that one width serves. */
typedef struct {
    uint64_t uniform;
    uint64_t unit;
    uint64_t uniform_most;
    uint64_t longest_value;
} sealroom_rules;

/* Count how many leading cells hold at most `most` (up to 256) distinct values, null being one. */
int sealroom_rows_of_few(const sealroom_column *column, uint64_t most, uint64_t *rows);

int sealroom_measure(const sealroom_column *column, uint64_t unit, uint64_t power_least,
                     sealroom_needs *needs);

/* Write the plaintext of a block of so many records: little-endian u32 lengths, then the padded
 * cells. erased is NULL, or not 0 where the block has a cell of length 0 and the column none. */
int sealroom_pad(const sealroom_column *column, const sealroom_shape *shape, const uint8_t *erased,
                 uint64_t records, uint8_t *plaintext, uint64_t plaintext_bytes);

/* Seal a block plaintext, the cell of record i under keys[32 i .. 32 i + 32), and wipe both. */
int sealroom_seal(const sealroom_cipher *cipher, uint8_t *plaintext, uint64_t plaintext_bytes,
                  uint64_t records, uint8_t *keys, uint64_t keys_bytes, uint8_t *block,
                  uint64_t block_bytes);

/* Open a block, or nothing of it, and wipe the keys.
 *
 * values has room for all padded cells; offsets gets records + 1 entries, valid records.
 * erased is NULL, or not 0 where a cell must be empty; it comes out as a null. *position is the
 * record meant by LENGTH, REFUSED and PADDING. Of several faults the one is answered that stands
 * first in the enumeration, and of its cells the first. After any, values is wiped. */
int sealroom_open(const sealroom_cipher *cipher, const uint8_t *block, uint64_t block_bytes,
                  uint64_t records, uint8_t *keys, uint64_t keys_bytes, const uint8_t *erased,
                  const sealroom_rules *rules, uint8_t *values, uint64_t values_room,
                  int64_t *offsets, uint8_t *valid, uint64_t *position);

/* --- for measurements only */

/* libsodium's crypto_aead_aes256gcm_encrypt and crypto_aead_aes256gcm_decrypt. */
typedef struct {
    int (*seal)(unsigned char *sealed, unsigned long long *sealed_bytes,
                const unsigned char *cell, unsigned long long cell_bytes,
                const unsigned char *associated, unsigned long long associated_bytes,
                const unsigned char *secret_nonce, const unsigned char *nonce,
                const unsigned char *key);
    int (*open)(unsigned char *cell, unsigned long long *cell_bytes, unsigned char *secret_nonce,
                const unsigned char *sealed, unsigned long long sealed_bytes,
                const unsigned char *associated, unsigned long long associated_bytes,
                const unsigned char *nonce, const unsigned char *key);
} sealroom_bare;

/* Seal count cells of one size, and open them again, in the barest loop that there is: no padding,
 * no lengths, one call a cell. cells has size * count bytes, sealed 16 more for each cell. */
int sealroom_bare_seal(const sealroom_bare *bare, const uint8_t *cells, uint64_t cells_bytes,
                       uint64_t count, const uint8_t *keys, uint64_t keys_bytes, uint8_t *sealed,
                       uint64_t sealed_bytes);
int sealroom_bare_open(const sealroom_bare *bare, const uint8_t *sealed, uint64_t sealed_bytes,
                       uint64_t count, const uint8_t *keys, uint64_t keys_bytes, uint8_t *cells,
                       uint64_t cells_bytes);
