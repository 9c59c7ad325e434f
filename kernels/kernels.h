// The kernels' contracts. A kernel reads and writes numbers through the pointers of its argument
// struct and does nothing else: no allocation, no threads, no files, no exceptions.
//
// Shapes are written in brackets, outermost dimension first: a [rows][columns] is row-major, its
// rows a_stride apart, its columns adjacent. "Pixels" are positions of a feature map
// [height][width][channels] (NHWC), pixel_stride apart, with adjacent channels.
//
// For all kernels, unless said otherwise:
// - pointers to float need the alignment of float only; packed panels are 64-byte aligned;
// - strides are counted in elements and are at least as large as what they step over; sizes may be
//   0, then nothing is written;
// - outputs must not overlap inputs, scratch or each other; inputs may overlap;
// - no byte outside the rows and columns named is read or written: memory between the last column
//   and the next row may be NaN or unmapped;
// - a value depends on its own inputs alone, never on how the caller split the work: a sum over k
//   is accumulated in ascending k, in one accumulator for each result, whatever the tile. So
//   results are bit-identical for any number of threads and of rows computed together. They differ
//   between instruction sets, within rounding.
#ifndef LIGHTCAP_KERNELS_KERNELS_H_
#define LIGHTCAP_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/packed_matrix.h"

namespace lightcap::internal {

enum class Activation : uint8_t { kNone, kRelu, kSilu, kGelu, kSigmoid };

// The epilogue of a product: applied to each sum before the one store.
//   y = activation(sum + bias + residual)
//   y = activation(sum + bias) + residual           with residual_after
// relu(x) = max(x, 0); sigmoid(x) = 1 / (1 + exp(-x)); silu(x) = x sigmoid(x);
// gelu(x) = x/2 (1 + erf(x / sqrt 2)), the exact form.
struct Epilogue {
  const float* bias = nullptr;      // [columns], or null for none
  const float* residual = nullptr;  // [rows][columns] as the output, or null for none. May be the
                                    // output itself, with the same stride.
  size_t residual_stride = 0;
  bool residual_after = false;
  Activation activation = Activation::kNone;
};

// A matrix product: c[i][j] = epilogue(sum over k of a[i][k] * weights[j][k]).
struct GemmArgs {
  const float* a;  // [rows][weights.depth]
  size_t a_stride;
  PackedMatrix weights;  // [outputs][depth]
  float* c;              // [rows][weights.outputs]
  size_t c_stride;
  size_t rows;
  Epilogue epilogue;
  // Panels of the same type and size that are likely to be multiplied next, to prefetch; or null.
  const void* next_panels = nullptr;
};

// A convolution over NHWC, as an implicit GEMM of depth kernel_height * kernel_width * channels (in
// this order, channels innermost). The window of output pixel (y, x) has its first row at input row
// y * stride - padding, and its first column at x * stride - padding; pixels outside the input
// count as zeros and are not read. Output pixels are numbered y * output_width + x; the call
// computes those in [first_pixel, first_pixel + pixels).
struct ConvArgs {
  const float* input;  // [height][width][channels]
  size_t input_row_stride, input_pixel_stride;
  size_t height, width, channels;
  size_t kernel_height, kernel_width, stride, padding;
  PackedMatrix weights;  // of depth kernel_height * kernel_width * channels
  // [output_height][output_width][weights.outputs], from pixel 0 on. Rows follow each other without
  // a gap: pixel i is at output + i * output_pixel_stride. The epilogue's residual is laid out so
  // too, with residual_stride between pixels.
  float* output;
  size_t output_pixel_stride;
  size_t output_width;
  size_t first_pixel, pixels;
  Epilogue epilogue;
  const void* next_panels = nullptr;  // as GemmArgs::next_panels
};

// 3x3 convolutions with stride 1 and padding 1 by Winograd's minimal filtering: winograd_input,
// then a gemm for each component with that component of the weights (see pack.h), then
// winograd_output. The feature map is cut into tiles of `tile` x `tile` outputs, `tile` 2 or 4, in
// rows of ceil(width / tile), of which the last ones reach beyond the map's edge. A tile's (tile +
// 2)^2 inputs are transformed to as many components, as the weights are, and so is the result back
// from as many sums of products. In exact arithmetic each result is that of `conv`; in fp32 its
// error is some 0.6 (tile 2) or 1.9 (tile 4) times as large.
constexpr size_t winograd_components(size_t tile) { return (tile + 2) * (tile + 2); }
constexpr size_t winograd_tiles(size_t height, size_t width, size_t tile) {
  return (height + tile - 1) / tile * ((width + tile - 1) / tile);
}

// Writes the components of tiles [first_tile, first_tile + tiles) of the input.
struct WinogradInputArgs {
  const float* input;  // [height][width][channels]
  size_t input_row_stride, input_pixel_stride;
  size_t height, width, channels, tile;
  // [components][tiles][channels]: matrices, component_stride apart, of rows tile_stride apart. The
  // first row is first_tile's.
  float* output;
  size_t component_stride, tile_stride;
  size_t first_tile, tiles;
};

// Writes the output's pixels under tiles [first_tile, first_tile + tiles), from these tiles'
// products. With `pooled` it writes the means of 2 x 2 of these pixels instead; height and width
// must then be even, and the epilogue without a residual.
struct WinogradOutputArgs {
  const float* input;  // [components][tiles][columns], as WinogradInputArgs::output
  size_t component_stride, tile_stride;
  size_t tile;
  // [height][width][columns], or with `pooled` [height/2][width/2][columns], from pixel 0 on. Rows
  // follow each other without a gap, as in ConvArgs.
  float* output;
  size_t output_pixel_stride;
  size_t height, width;
  size_t first_tile, tiles;
  size_t columns;
  Epilogue epilogue;
  bool pooled = false;
};

// Writes the components of a 3x3 convolution's weights in tiles of 2, bit for bit as
// pack_winograd_panels() makes them.
struct WinogradWeightsArgs {
  PackedMatrix weights;  // floats of any type, of depth 9 * channels
  // [winograd_components(2)] of panels [ceil(weights.outputs / 16)][channels][16], component_stride
  // apart. 64-byte aligned.
  float* output;
  size_t component_stride;
};

// Average or maximum over windows of `window` x `window` pixels, which begin at y * stride -
// padding and x * stride - padding. Each must hold a pixel of the input: pixels outside do not take
// part in a maximum, and an average has no padding (it must be 0). The call computes output rows
// [first_row, first_row + rows).
template <class T>
struct PoolArgsOf {
  const T* input;  // [height][width][channels]
  size_t input_row_stride, input_pixel_stride;
  size_t height, width, channels;
  size_t window, stride, padding;
  T* output;  // [output_height][output_width][channels], from row 0 on
  size_t output_row_stride, output_pixel_stride;
  size_t output_width;
  size_t first_row, rows;
};
using PoolArgs = PoolArgsOf<float>;

// Nearest-neighbour upsampling by 2: output (y, x) = input (y/2, x/2). `rows` input rows are read,
// twice as many output rows are written.
template <class T>
struct UpsampleArgsOf {
  const T* input;  // [rows][width][channels]
  size_t input_row_stride, input_pixel_stride;
  size_t rows, width, channels;
  T* output;  // [2 rows][2 width][channels]
  size_t output_row_stride, output_pixel_stride;
};
using UpsampleArgs = UpsampleArgsOf<float>;

// The mean over all bins of torchvision's roi_align(aligned = true, output_size x output_size bins,
// sampling_ratio^2 samples a bin), for one box: output[c]. The box is in grid cells (image pixels
// times spatial_scale), before the half-cell shift of `aligned`. The mean over a bin's samples and
// the mean over bins are both linear in the features, and the samples form a product grid: so the
// kernel turns the box into one weight for each grid row and one for each grid column, and reads
// each cell once. height and width are at least 1, height + width <= kMaxRoiSide, output_size and
// sampling_ratio at least 1.
inline constexpr size_t kMaxRoiSide = 256;
struct RoiAlignArgs {
  const float* features;  // [height][width][channels]
  size_t row_stride, pixel_stride;
  size_t height, width, channels;
  float x1, y1, x2, y2;
  size_t output_size, sampling_ratio;
  float* output;  // [channels]
};

// Keys and values of one head, for keys 0..count-1. Keys are stored transposed so that the scores
// of neighbouring keys are computed side by side.
struct KeyValues {
  const float* keys;  // [head_size][key_stride]: keys[d * key_stride + key]
  size_t key_stride;
  const float* values;  // [count][value_stride]: values[key * value_stride + d]
  size_t value_stride;
  size_t count;
};

// The most rows whose attention is computed at once.
constexpr size_t kMostAttentionRows = 4;

// Softmax attention of one head over the keys `shared`, which every row sees, followed by the keys
// `own`, of which row i sees the first n(i) = own.count + i * causal (causal is 0 or 1):
//   s[i][k] = scale * sum over d of queries[i][d] * key[k][d], k < shared.count + n(i)
//   output[i][d] = sum over k of softmax(s[i])[k] * value[k][d]
// With causal = 1, own.count is what the first row sees. At least one key is visible to each row.
struct AttentionArgs {
  const float* queries;  // [rows][query_stride]
  size_t query_stride;
  size_t rows, head_size;
  float scale;
  KeyValues shared, own;
  size_t causal;
  float* scores;         // scratch, [kMostAttentionRows][scores_stride], 64-byte aligned
  size_t scores_stride;  // at least shared.count + own.count + rows + 32, a multiple of 16
  float* output;         // [rows][output_stride]
  size_t output_stride;
};

// y = (x - mean) / sqrt(variance + eps) * weight + bias over each row; variance is the mean of
// squared deviations. y may be x, with the same stride.
struct LayerNormArgs {
  const float* x;  // [rows][columns]
  size_t x_stride;
  const float* weight;  // [columns]
  const float* bias;    // [columns]
  float eps;
  float* y;  // [rows][columns]
  size_t y_stride;
  size_t rows, columns;
};

// y[i] = exp(x[i] - max) / sum over j of exp(x[j] - max), for each row, max being its largest x. y
// may be x, with the same stride. columns >= 1.
struct SoftmaxArgs {
  const float* x;  // [rows][columns]
  size_t x_stride;
  float* y;  // [rows][columns]
  size_t y_stride;
  size_t rows, columns;
};

// y[i] = activation(x[i]). y may be x.
struct ActivateArgs {
  const float* x;
  float* y;
  size_t count;
  Activation activation;
};

// y[i][j] = x[i][j] * scale[j]. y may be x, with the same stride.
struct ScaleColumnsArgs {
  const float* x;  // [rows][columns]
  size_t x_stride;
  const float* scale;  // [columns]
  float* y;            // [rows][columns]
  size_t y_stride;
  size_t rows, columns;
};

// The logits of one chunk of a vocabulary for all rows at once,
//   logits[r][w] = sum over k of z[r][k] * weights[w][k] + bias[w]
// and each row's share of a softmax over several chunks:
//   maximum[r] = max over w of logits[r][w]
//   exp_sum[r] = sum over w of exp(logits[r][w] - maximum[r])
// Each byte of the weights is read once. rows <= kMaxHeadRows; weights.outputs, the chunk's words,
// >= 1.
inline constexpr size_t kMaxHeadRows = 64;
struct HeadLogitsArgs {
  const float* z;  // [rows][depth]
  size_t z_stride;
  PackedMatrix weights;  // [words][depth]
  const float* bias;     // [words]
  float* logits;         // [rows][words]
  size_t logits_stride;
  float* maximum;  // [rows]
  float* exp_sum;  // [rows]
  size_t rows;
};

// Log-probabilities of one beam over a chunk of the vocabulary from its branches' logits:
//   y[w] = log( (1/branches) * sum over b of exp(logits[b][w] - log_sum_exp[b]) )
// With one branch this is logits[0][w] - log_sum_exp[0], rounded once. A result below the logarithm
// of the smallest float saturates near it and is never NaN. Results below `floor` are computed less
// exactly: the kernel may write anything from y[w] to below floor in their place, which saves a
// search for the best words most of the exponentials and logarithms.
struct HeadCombineArgs {
  const float* logits;  // [branches][words]
  size_t logits_stride;
  const float* log_sum_exp;  // [branches]
  float* y;                  // [words]
  size_t branches, words;
  float floor;  // -infinity asks for every word's log-probability
};

// The k largest of x, in descending order; of equal values the lower index comes first. k <= count,
// k <= kMaxTopK. x must not hold NaN; where it does, the answer is of no use, but indices are below
// count.
inline constexpr size_t kMaxTopK = 128;
struct TopKArgs {
  const float* x;  // [count]
  size_t count, k;
  float* values;      // [k]
  uint32_t* indices;  // [k]
};

// ---- Integers ------------------------------------------------------------------------------
//
// An activation of 8 bits stands for the number scale * (q - zero), with a scale and a zero of its
// tensor; weights are int8 with a scale for each output. docs/int8.md has the arithmetic, which
// every instruction set computes to the same bits: `fl` is one rounding of fp32, to nearest even,
// `rint` that to an integer, `s16` and `u8` saturate, and mulhrs(x, y) = floor((x y + 2^14) /
// 2^15). The sum of an output is s = sum over k of a[k] * weights[j][k], which must not leave
// int32: depth is at most kMaxIntegerDepth. Two neighbouring weights of a row, 2k and 2k + 1, must
// not add up to more than 128 in absolute value if they have one sign, since AVX2 and SSSE3 add up
// such pairs of products with saturation to 16 bits. Channels, strides and the addresses of
// activations are multiples of kQuad elements.
inline constexpr size_t kMaxIntegerDepth = 65536;

// The epilogue of an integer product. Its sums become
//   t = fl(fl(s + bias) * scale)                        with weights.scales as `scale`
//   t = fl(t + fl(fl(r - residual_zero) * residual_scale))   with a residual before activation
// and then, with an activation
//   kNone   y = u8(rint(t) + zero)
//   kRelu   y = u8(max(rint(t), 0) + zero)
//   kSilu   x = s16(rint(t)), a number in units of 1/512
//           y = u8(mulhrs(mulhrs(x, sigmoid(x)), silu_factor) + (residual_after ? r : zero))
// where sigmoid(x), in units of 1 / 2^15, is integer_sigmoid() of integer_silu.h. SiLU takes a
// residual only after the activation, with the output's scale and zero; the others only before it.
// An output of floats is y = t, or max(t, 0) for kRelu; it has no SiLU.
// For all sums that may occur, |t| must stay below 2^30.
struct IntegerEpilogue {
  const int32_t* bias = nullptr;      // [columns], never null
  const uint8_t* residual = nullptr;  // [rows][columns] as the output, or null for none. May be the
                                      // output itself, with the same stride.
  size_t residual_stride = 0;
  bool residual_after = false;
  float residual_scale = 0;
  int32_t residual_zero = 0;
  Activation activation = Activation::kNone;  // kNone, kRelu or kSilu
  int32_t zero = 0;                           // the output's, 0 to 255
  int16_t silu_factor = 0;
};

// The place for results: bytes or floats. Exactly one pointer is not null.
struct IntegerOutput {
  uint8_t* bytes = nullptr;
  float* floats = nullptr;
};

// c[i][j] = epilogue(sum over k of a[i][k] * weights[j][k]).
struct IntegerGemmArgs {
  const uint8_t* a;  // [rows][weights.depth]; depth is a multiple of kQuad
  size_t a_stride;
  PackedMatrix weights;  // int8, with scales and sums
  IntegerOutput c;       // [rows][weights.outputs]
  size_t c_stride;
  size_t rows;
  IntegerEpilogue epilogue;
  const void* next_panels = nullptr;  // as GemmArgs::next_panels
};

// The convolution of ConvArgs over bytes. Pixels outside the input count as `input_zero`; the bias
// contains what the zero contributes to each sum.
struct IntegerConvArgs {
  const uint8_t* input;  // [height][width][channels]; channels are a multiple of kQuad
  size_t input_row_stride, input_pixel_stride;
  size_t height, width, channels;
  uint8_t input_zero;
  size_t kernel_height, kernel_width, stride, padding;
  PackedMatrix weights;  // int8, of depth kernel_height * kernel_width * channels
  IntegerOutput output;  // as ConvArgs::output
  size_t output_pixel_stride;
  size_t output_width;
  size_t first_pixel, pixels;
  IntegerEpilogue epilogue;
  const void* next_panels = nullptr;  // as GemmArgs::next_panels
};

// 3x3 convolutions of bytes with stride 1 and padding 1 by Winograd's filtering, exactly, in tiles
// of 2 x 2: integer_winograd_input, then a pair_gemm for each of winograd_components(2) components,
// then integer_winograd_output. The transformed inputs are within +-1020; the transformed weights,
// which pack.h makes four times as large so that they are integers, within +-1143. The
// result of transforming back is four times a sum of integer_conv. It must not leave int32, so
// channels are at most kMaxIntegerWinogradChannels; sums on the way there may, since they wrap
// around.
inline constexpr size_t kMaxIntegerWinogradChannels = 2048;

// WinogradInputArgs for bytes. Pixels outside the input count as `input_zero`.
struct IntegerWinogradInputArgs {
  const uint8_t* input;  // [height][width][channels]; channels are a multiple of kQuad
  size_t input_row_stride, input_pixel_stride;
  size_t height, width, channels;
  uint8_t input_zero;
  int16_t* output;  // [components][tiles][channels], as WinogradInputArgs::output
  size_t component_stride, tile_stride;
  size_t first_tile, tiles;
};

// c[i][j] = sum over k of a[i][k] * weights[j][k], modulo 2^32.
struct PairGemmArgs {
  const int16_t* a;  // [rows][depth]; depth, a_stride and a's address are multiples of kPair
  size_t a_stride;
  const int16_t* weights;  // panels [ceil(columns / 16)][depth / kPair][16][kPair], 64-byte aligned
  size_t depth, columns;
  int32_t* c;  // [rows][columns]
  size_t c_stride;
  size_t rows;
  // Panels of the same size that are likely to be multiplied next, to prefetch; or null.
  const int16_t* next_weights = nullptr;
};

// Writes the output's pixels under tiles [first_tile, first_tile + tiles), from these tiles'
// products, with integer_conv's epilogue.
struct IntegerWinogradOutputArgs {
  const int32_t* input;  // [components][tiles][weights.outputs], as WinogradOutputArgs::input
  size_t component_stride, tile_stride;
  PackedMatrix weights;  // the convolution's, of which the scales are read
  IntegerOutput output;  // as ConvArgs::output
  size_t output_pixel_stride;
  size_t height, width;
  size_t first_tile, tiles;
  IntegerEpilogue epilogue;
};

// Pooling of bytes as PoolArgs has it. An average is over 2 x 2 pixels side by side (window = 2,
// stride = 2, padding = 0) and rounds halves up: (a + b + c + d + 2) >> 2.
using BytePoolArgs = PoolArgsOf<uint8_t>;
using ByteUpsampleArgs = UpsampleArgsOf<uint8_t>;

// Rows of floats as 16-bit integers v with a scale for each row, in two planes of bytes:
//   largest = max over k of |x[k]|,  scale = fl(largest / kLargestWide)
//   v[k] = rint(fl(x[k] * fl(kLargestWide / largest))),  v[k] = 256 high[k] + low[k]
// with high and low in [-128, 127]. planes[row][0][k] = high[k] + 128, planes[row][1][k] = low[k] +
// 128. A row whose largest is below kSmallestWide, so that its inverse could leave fp32, counts as
// zeros: its scale is 0 and v = 0. Where a row holds NaN or infinities its scale is NaN, and so is
// all that is computed from it; its planes may then hold anything.
inline constexpr float kLargestWide = 32512;
inline constexpr float kSmallestWide = 0x1p-100f;
struct QuantizeRowsArgs {
  const float* x;  // [rows][columns]
  size_t x_stride;
  uint8_t* planes;  // [rows][2][panel_depth(columns, kI8)], 128 from `columns` on
  float* scales;    // [rows]
  size_t rows, columns;
};

// A product of rows that quantize_rows made with int8 weights: with h and l the sums over k of
// high[k] * weights[j][k] and low[k] * weights[j][k],
//   c[i][j] = epilogue(fl(fl(fl(256 fl(h) + fl(l)) * weights.scales[j]) * scales[i]))
// where the epilogue is GemmArgs's, in fp32. Not fused: each fl is a rounding of its own.
struct WideGemmArgs {
  const uint8_t* planes;  // [rows][2][panel_depth(weights.depth, kI8)]
  const float* scales;    // [rows]
  PackedMatrix weights;   // int8, with scales and sums
  float* c;               // [rows][weights.outputs]
  size_t c_stride;
  size_t rows;
  Epilogue epilogue;
  const void* next_panels = nullptr;  // as GemmArgs::next_panels
};

// HeadLogitsArgs for rows that quantize_rows made and int8 words.
struct WideHeadLogitsArgs {
  const uint8_t* planes;  // [rows][2][panel_depth(weights.depth, kI8)]
  const float* scales;    // [rows]
  PackedMatrix weights;   // int8, [words][depth], with scales and sums
  const float* bias;      // [words]
  float* logits;          // [rows][words]
  size_t logits_stride;
  float* maximum;  // [rows]
  float* exp_sum;  // [rows]
  size_t rows;     // at most kMaxHeadRows
};

// A row of RGB pixels resampled to another width, in fixed point:
//   sum[x][c] = sum over k < window of weights[x][k] * row[begins[x] + k][c]
//   out[x][c] = floor(sum / 2^kResizeBits + 1/2), clamped to [0, 255]
// Weights are in units of 1 / 2^kResizeBits, and the absolute values of an output's sum to less
// than 2. They are 0 where a window reaches beyond the row.
inline constexpr int kResizeBits = 22;
struct ResizeRowArgs {
  const uint8_t* row;  // [pixels][3]
  size_t pixels;
  const int32_t* weights;  // [size][window][4]: each weight four times
  size_t window;           // a multiple of 4
  const uint32_t* begins;  // [size], the pixel where each window begins: ascending, below `pixels`
  int32_t* unpacked;       // scratch, [pixels + window][4]
  uint8_t* out;            // [size][3]
  size_t size;             // at least 1
};

inline constexpr size_t kMaxTileRows = 12;

// The kernels of one instruction set.
struct KernelTable {
  const char* isa;
  // MR, the rows of the tallest register tile of `gemm`: a product whose rows are cut into
  // multiples of it leaves no low tiles. At most kMaxTileRows.
  size_t tile_rows;
  // True if integer_conv takes so much longer for a multiply-add than pair_gemm that Winograd's
  // filtering is the faster way to a 3x3 convolution of bytes.
  bool prefers_integer_winograd;
#define LIGHTCAP_KERNEL(name, Args) void (*name)(const Args& args);
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_KERNELS_H_
