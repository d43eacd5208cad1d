"""Operations of the published model, counted by hand."""

# Of the convolutions on each level: kernel² · input channels · output channels, times the pixels at 32×32.
MULTIPLY_ADDS = (
    (288 + 9_216 + 1_024 + 13_824 + 9_216 + 32) * 32**2
    + (9_216 + 9_216 + 4_096 + 18_432 + 4_608) * 16**2
    + (18_432 + 36_864 + 16_384 + 73_728 + 18_432) * 8**2
    + (73_728 + 147_456 + 131_072 + 294_912 + 73_728) * 4**2
    + (294_912 + 589_824) * 2**2
)
