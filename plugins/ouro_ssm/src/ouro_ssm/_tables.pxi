# Header fields as programs describe them, and tables that Python edits while a mover reads them.


ctypedef struct FieldView:           # ouro_core.contracts.programs.Field
    uint32_t offset
    uint32_t width
    bint little
    bint bit_reversed
    int64_t bias


cdef set_field(FieldView *view, field, uint32_t header):
    """PacketsError for a field that cannot be."""
    if field.width not in (1, 2, 4, 8) or field.order not in ("big", "little"):
        raise PacketsError(f"{field} is no integer of 1, 2, 4 or 8 bytes, big or little")
    if field.bit_reversed and field.width != 1:
        raise PacketsError(f"{field}: only a field of one byte can be bit-reversed")
    if not 0 <= field.offset <= header - field.width:
        raise PacketsError(f"{field} lies outside the header of {header} bytes")
    view.offset, view.width = field.offset, field.width
    view.little, view.bit_reversed = field.order == "little", field.bit_reversed
    view.bias = field.bias


cdef inline uint8_t reversed_bits(uint8_t b) noexcept nogil:
    b = <uint8_t> ((b & 0xF0) >> 4 | (b & 0x0F) << 4)
    b = <uint8_t> ((b & 0xCC) >> 2 | (b & 0x33) << 2)
    return <uint8_t> ((b & 0xAA) >> 1 | (b & 0x55) << 1)


cdef inline uint64_t get_field(FieldView *f, const uint8_t *header) noexcept nogil:
    """What it means: for less than the bias a number that is too large for anything."""
    cdef uint64_t value = 0
    cdef uint32_t i
    for i in range(f.width):
        value = value << 8 | header[f.offset + (f.width - 1 - i if f.little else i)]
    if f.bit_reversed:
        value = reversed_bits(<uint8_t> value)
    return value - <uint64_t> f.bias


cdef inline void put_field(FieldView *f, uint8_t *header, uint64_t meaning) noexcept nogil:
    cdef uint64_t value = meaning + <uint64_t> f.bias
    cdef uint32_t i
    if f.bit_reversed:
        value = reversed_bits(<uint8_t> value)
    for i in range(f.width):
        header[f.offset + (i if f.little else f.width - 1 - i)] = <uint8_t> (value >> (8 * i))


# ---------------------------------------------------------------- key -> pointer

# An open hash. One writer, Python under the mover's lock; the thread reads without. Python never takes a used slot
# back, so a search ends at the same place before and after each of its steps; it makes a new table instead.

ctypedef struct KeySlot:
    uint64_t key
    void *value                      # NULL: removed
    uint32_t used

ctypedef struct KeyTable:
    uint32_t mask                    # slots - 1
    uint32_t filled                  # slots that are used, also those of removed keys
    KeySlot slots[1]


cdef inline uint32_t first_slot(KeyTable *t, uint64_t key) noexcept nogil:
    return <uint32_t> ((key * <uint64_t> 0x9E3779B97F4A7C15) >> 32) & t.mask


cdef inline void *look_up(KeyTable *t, uint64_t key) noexcept nogil:
    cdef uint32_t i = first_slot(t, key)
    while ou_load_acquire(&t.slots[i].used):
        if t.slots[i].key == key:
            return ou_load_pointer(&t.slots[i].value)
        i = (i + 1) & t.mask
    return NULL


cdef size_t slots_for(size_t keys) noexcept:
    """Four times as many, at least."""
    cdef size_t slots = 16
    while slots < 4 * keys:
        slots *= 2
    return slots


cdef inline size_t table_size(size_t slots) noexcept:
    return sizeof(KeyTable) + slots * sizeof(KeySlot)


cdef KeyTable *new_table(size_t keys) except NULL:
    cdef size_t slots = slots_for(keys)
    cdef KeyTable *t = <KeyTable *> calloc(1, table_size(slots))
    if t == NULL:
        raise OutOfMemory(f"no memory for a table of {slots} keys")
    t.mask = <uint32_t> slots - 1
    return t


cdef bint set_key(KeyTable *t, uint64_t key, void *value) noexcept:
    """False: the table is three quarters full."""
    cdef uint32_t i = first_slot(t, key)
    while t.slots[i].used:
        if t.slots[i].key == key:
            ou_store_pointer(&t.slots[i].value, value)
            return True
        i = (i + 1) & t.mask
    if value == NULL:
        return True
    if 4 * (<uint64_t> t.filled + 1) > 3 * (<uint64_t> t.mask + 1):
        return False
    t.slots[i].key = key
    ou_store_pointer(&t.slots[i].value, value)
    ou_store_release(&t.slots[i].used, 1)
    t.filled += 1
    return True


cdef KeyTable *copied_table(KeyTable *t) except NULL:
    """Without the removed keys, and with room."""
    cdef uint32_t i
    cdef size_t live = 1
    for i in range(t.mask + 1):
        live += t.slots[i].value != NULL
    cdef KeyTable *copy = new_table(live)
    for i in range(t.mask + 1):
        if t.slots[i].value != NULL:
            set_key(copy, t.slots[i].key, t.slots[i].value)
    return copy
