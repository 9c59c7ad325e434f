/* LightCap: captions for images, on any CPU. C99; link with liblightcap.
 *
 *   lightcap_model* model;
 *   lightcap_session* session;
 *   lightcap_result result = LIGHTCAP_RESULT_INIT;
 *   if (lightcap_model_open("scenes.lcw", NULL, &model) == LIGHTCAP_OK &&
 *       lightcap_session_open(model, NULL, &session) == LIGHTCAP_OK &&
 *       lightcap_caption_file(session, "photo.jpg", NULL, &result) == LIGHTCAP_OK) {
 *     puts(result.caption);
 *   } else {
 *     puts(lightcap_last_error());
 *   }
 *
 * Errors. Nothing here prints, exits or throws. A function that can fail returns a status, and
 * lightcap_last_error() says what happened. Any such function may return LIGHTCAP_ERROR_USAGE (an
 * argument is NULL or out of its range, or the host's own function threw a C++ exception),
 * LIGHTCAP_ERROR_MEMORY and LIGHTCAP_ERROR_INTERNAL; what else, its comment says. After an error
 * all handles can be used as before.
 *
 * Threads. A model is immutable and may be used by any number of sessions on any threads at once. A
 * session holds what one caption needs (memory, threads): use it from one thread at a time.
 * Functions without a handle may be called from any thread at any time.
 *
 * Floating point. Whatever rounding mode, flushing of denormal numbers or traps the calling thread
 * has set, results have the same bits: the default environment is in force inside of each function,
 * callbacks included, and the caller's again when it returns.
 *
 * fork(). A child may close what its parent opened, and caption with it: a session's first caption
 * in the child starts its threads again, which allocates. A session that was captioning on another
 * thread at the moment of the fork can only be closed there; a caption returns
 * LIGHTCAP_ERROR_USAGE. With an executor the threads are the host's to start again.
 *
 * Structs begin with their own size, so that later versions can add fields: start from the
 * LIGHTCAP_..._INIT of each, which holds the defaults, and change what you want. NULL options mean
 * all defaults. A smaller size is that of an older caller: fields beyond it have their defaults, or
 * are not filled in. A larger size is that of a newer one: options that this library does not know
 * must be zero, else LIGHTCAP_ERROR_USAGE; it fills the unknown end of a result with zeros. Sizes
 * are checked before any work is done. Elements of arrays may grow too: a result says how far apart
 * they are, and lightcap_concept_at() finds one. docs/abi.md has what is promised from version to
 * version.
 */
#ifndef LIGHTCAP_H_
#define LIGHTCAP_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define LIGHTCAP_API
#else
#define LIGHTCAP_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Also the exit codes of the command lines. */
typedef enum lightcap_status {
  LIGHTCAP_OK = 0,
  LIGHTCAP_ERROR_INPUT = 1,      /* an image is missing, unreadable, malformed or over a limit */
  LIGHTCAP_ERROR_USAGE = 2,      /* an argument or option is wrong */
  LIGHTCAP_ERROR_MODEL = 3,      /* a .lcw file is missing, malformed or contradicts itself */
  LIGHTCAP_ERROR_CHECKPOINT = 4, /* lightcap-convert only */
  LIGHTCAP_ERROR_ISA = 5,    /* an instruction set is unknown, not built in or not supported here */
  LIGHTCAP_ERROR_MEMORY = 6, /* out of memory */
  LIGHTCAP_ERROR_OUTPUT = 7, /* a result could not be written */
  LIGHTCAP_ERROR_INTERNAL = 8,  /* a bug in LightCap */
  LIGHTCAP_ERROR_MISMATCH = 9,  /* command lines only: --verify found a difference */
  LIGHTCAP_ERROR_CANCELLED = 10 /* the host ended a caption, or its deadline passed */
} lightcap_status;

/* "0.2.0"; never freed. */
LIGHTCAP_API const char* lightcap_version(void);
/* The last failure on this thread in words, one line; empty before one. Belongs to the thread,
 * and is valid until its next failure. */
LIGHTCAP_API const char* lightcap_last_error(void);

/* Instruction sets that are built in, plainest first: index 0, 1 ... until NULL. Never freed. */
LIGHTCAP_API const char* lightcap_isa_name(size_t index);
/* 1 if this CPU and its operating system support it, else 0, as for NULL and unknown names. */
LIGHTCAP_API int lightcap_isa_supported(const char* name);

/* The number of threads that a session has by default, 1 to 8: a thread for each CPU that this
 * process may use, by its affinity (taskset, cpusets) and by the CPU quota of its cgroup and of all
 * parents (versions 1 and 2; containers), rounded up. Asks the system anew at each call. */
LIGHTCAP_API int lightcap_default_threads(void);

/* Called with notices such as which instruction set is used. `level`: 0 information, 1 warning.
 * `message` is valid during the call. Called from any thread that is inside a function of this
 * library, from several at once if several are. */
typedef void (*lightcap_log_function)(void* context, int level, const char* message);
/* Sets where the process's notices go; NULL (the default) drops them. May be called at any time,
 * while captions run as well: function and context change together. A call of the former function
 * that is under way may end after this has returned: keep its context until then. */
LIGHTCAP_API void lightcap_set_log(lightcap_log_function log, void* context);

/* ---- Model ---- */

typedef struct lightcap_model lightcap_model;

typedef struct lightcap_model_options {
  size_t struct_size;
  /* 0: map the file; weights are used where they lie, and processes share them. 1: read it into
   * memory, for files that may be truncated while in use, which would kill a process that mapped
   * them. */
  int read_into_memory;
} lightcap_model_options;
#define LIGHTCAP_MODEL_OPTIONS_INIT \
  { sizeof(lightcap_model_options), 0 }

/* Opens a .lcw file. `*model` is yours to close; NULL after an error, which can be
 * LIGHTCAP_ERROR_MODEL: the file is missing, malformed or contradicts itself. With
 * read_into_memory, a file that becomes shorter while it is read is such an error too. */
LIGHTCAP_API lightcap_status lightcap_model_open(const char* path,
                                                 const lightcap_model_options* options,
                                                 lightcap_model** model);
/* The same of a .lcw file's bytes. `data` stays yours; it must stay as it is until the model and
 * its sessions are closed. It is copied if it is not aligned to 64 bytes. */
LIGHTCAP_API lightcap_status lightcap_model_open_buffer(const void* data, size_t size,
                                                        const lightcap_model_options* options,
                                                        lightcap_model** model);
/* The same of `size` bytes of an open file from `offset` on (0: all that follow), such as an asset
 * in an Android package. The descriptor stays yours and may be closed afterwards. The part is
 * mapped where it begins at a multiple of 64, else read into memory. */
LIGHTCAP_API lightcap_status lightcap_model_open_fd(int fd, uint64_t offset, uint64_t size,
                                                    const lightcap_model_options* options,
                                                    lightcap_model** model);
/* Sessions keep what they need of their model: it may be closed before them. NULL is fine. The
 * handle must not be in use on another thread. */
LIGHTCAP_API void lightcap_model_close(lightcap_model* model);

/* ---- Session ---- */

typedef struct lightcap_session lightcap_session;

/* The host's own threads: parallel_for must call task(argument, i) exactly once for every i in
 * [0, count), on any threads, and return when all are done. Results don't depend on how it does so.
 * Tasks neither throw nor call back. The struct is copied; `context` must live as long as the
 * session. An executor that throws, calls a task twice, or returns before all are done ends the
 * caption with LIGHTCAP_ERROR_USAGE; a task that it calls later than that does nothing, as long as
 * the session is open. */
typedef struct lightcap_executor {
  void* context;
  void (*parallel_for)(void* context, size_t count, void (*task)(void* argument, size_t index),
                       void* argument);
} lightcap_executor;

typedef struct lightcap_session_options {
  size_t struct_size;
  int threads;     /* 1 to 1024, the calling thread is one of them; 0: lightcap_default_threads() */
  const char* isa; /* a name of lightcap_isa_name(); NULL: $LIGHTCAP_ISA, else the best one here */
  int max_beams;   /* the most that lightcap_caption_options.beams may be, 1 to 32 */
  const lightcap_executor* executor; /* NULL: threads of the session's own; else `threads` is only
                                        what lightcap_session_threads() returns, and the most tasks
                                        that layers which need memory for each run at once: give the
                                        executor's width */
  int low_memory;    /* 1: convolutions without Winograd's filtering, whose weights take more memory
                        than they are faster by; results differ within rounding */
  size_t max_states; /* the most that a caption's constraints may have, see
                        lightcap_constraints_states(), 0 to 128: a caption has room for max_beams
                        beams in each, so memory grows with them. 0: captions have no constraints */
} lightcap_session_options;
#define LIGHTCAP_SESSION_OPTIONS_INIT \
  { sizeof(lightcap_session_options), 0, NULL, 5, NULL, 0, 0 }

/* Plans and allocates all the memory that captions of this session take, and starts its threads.
 * `*session` is yours to close; NULL after an error, which can be LIGHTCAP_ERROR_ISA: the
 * instruction set asked for is unknown, not built in or not supported by this CPU; or
 * LIGHTCAP_ERROR_MODEL: the model, or max_beams and max_states with it, asks for more memory or
 * time than a file of its size may. Where the system refuses to start so many threads the session
 * has fewer, and the log is warned. */
LIGHTCAP_API lightcap_status lightcap_session_open(const lightcap_model* model,
                                                   const lightcap_session_options* options,
                                                   lightcap_session** session);
/* Ends its threads and frees its memory, its results' strings and arrays among it. NULL is fine.
 * The session must not be in use on another thread. */
LIGHTCAP_API void lightcap_session_close(lightcap_session* session);

/* The instruction set in use; never freed. "" of NULL. */
LIGHTCAP_API const char* lightcap_session_isa(const lightcap_session* session);
/* The threads that there are, the calling one included: fewer than asked for where the system
 * refused to start more. 0 of NULL. */
LIGHTCAP_API int lightcap_session_threads(const lightcap_session* session);
/* Memory that the session and its model take, weights included: known when the session opens, the
 * same for every caption. Decoding an image file comes on top: 6 bytes a pixel for most, up to 11
 * for a PNG of 16 bits and 15 for a progressive JPEG, and twice the file; given back at once, but
 * for 3 bytes a pixel until the caption is there. 0 of NULL. */
LIGHTCAP_API size_t lightcap_session_peak_bytes(const lightcap_session* session);

/* ---- Ending captions early ---- */

/* A flag that ends captions: any number of them, in any sessions, while it is raised. */
typedef struct lightcap_cancel lightcap_cancel;

/* `*flag`, which is not raised, is yours to close; NULL after an error. */
LIGHTCAP_API lightcap_status lightcap_cancel_open(lightcap_cancel** flag);
/* Raises the flag (1) or lowers it (0): from any thread at any time, signal handlers too. Captions
 * under way end within milliseconds, those that begin while it is raised at once. NULL is fine. */
LIGHTCAP_API void lightcap_cancel_set(lightcap_cancel* flag, int raised);
/* No caption may be using it. NULL is fine. */
LIGHTCAP_API void lightcap_cancel_close(lightcap_cancel* flag);

/* ---- Words that captions must contain ---- */

/* Up to 4 words, each of which may come in one of several forms. With them decoding is a
 * constrained beam search (Anderson et al. 2017), as wide as lightcap_caption_options.beams says
 * for each set of words that a caption may have so far: `beams` of 1 is no greedy search then.
 * Every caption that it finds contains all of the words. */
typedef struct lightcap_constraints lightcap_constraints;

/* `*constraints`, which has no word yet, is yours to close; NULL after an error. It keeps what it
 * needs of the model, and is for sessions of this model alone. */
LIGHTCAP_API lightcap_status lightcap_constraints_open(const lightcap_model* model,
                                                       lightcap_constraints** constraints);
/* Captions must contain one of `count` forms as well, 1 to 16: "dog", "dogs", "traffic light",
 * UTF-8. A form is found where the caption has it as whole words, upper or lower case, accents or
 * none. LIGHTCAP_ERROR_USAGE where the model's vocabulary has no pieces for a form, where the words
 * take more tokens than a caption has, or have too many states; then all is as before. Not to be
 * called while captions use it. */
LIGHTCAP_API lightcap_status lightcap_constraints_add(lightcap_constraints* constraints,
                                                      const char* const* forms, size_t count);
/* The least that lightcap_session_options.max_states has to be: 2^n for n words of a token each;
 * longer forms have states between their tokens. 0 of NULL. */
LIGHTCAP_API size_t lightcap_constraints_states(const lightcap_constraints* constraints);
/* The form of word `index`, in the order in which they were added, that the tokens of a result or
 * of one of its hypotheses contain. Belongs to the constraints. NULL where there is none: after
 * on_token ended a caption early, beyond the last word, and of NULL. */
LIGHTCAP_API const char* lightcap_constraints_found(const lightcap_constraints* constraints,
                                                    size_t index, const uint32_t* tokens,
                                                    size_t token_count);
/* No caption may be using it. NULL is fine. */
LIGHTCAP_API void lightcap_constraints_close(lightcap_constraints* constraints);

/* ---- Captions ---- */

/* Called on the thread that captions after each step of decoding: `text`, UTF-8, is the best
 * caption so far, without what may still come, and `token` its last token; the model's [SEP] where
 * it has come to its end. Greedy search only ever adds to the text; with several beams the best
 * may become another one. `text` is valid during the call. Returns one of lightcap_answer. */
typedef int (*lightcap_token_function)(void* context, uint32_t token, const char* text);
typedef enum lightcap_answer {
  LIGHTCAP_GO_ON = 0,
  LIGHTCAP_STOP = 1,  /* the caption ends here; the result is what there is */
  LIGHTCAP_CANCEL = 2 /* the caption ends with LIGHTCAP_ERROR_CANCELLED */
} lightcap_answer;

/* How far a caption goes. */
typedef enum lightcap_work {
  LIGHTCAP_WORK_CAPTION = 0,
  LIGHTCAP_WORK_CONCEPTS = 1, /* to the concepts and their boxes: the caption is "" */
  LIGHTCAP_WORK_FEATURES = 2  /* the image encoder alone: no concepts either; see
                                 lightcap_session_features() */
} lightcap_work;

typedef struct lightcap_caption_options {
  size_t struct_size;
  int beams;             /* 1: greedy search; at most the session's max_beams */
  double length_penalty; /* alpha, -10 to 10: a caption's score is its sum of log-probabilities /
                            length^alpha */
  int ignore_exif;       /* 1: don't turn the image upright as its EXIF orientation says */
  uint64_t max_pixels;   /* images with more are refused before they are decoded */
  const lightcap_cancel* cancel;    /* ends the caption while it is raised; NULL: nothing does */
  lightcap_token_function on_token; /* NULL: nobody wants to know */
  void* on_token_context;
  uint32_t deadline_ms;                    /* ends the caption so long after the call; 0: never */
  int work;                                /* one of lightcap_work */
  const lightcap_constraints* constraints; /* what the caption must contain; NULL: anything goes */
} lightcap_caption_options;
#define LIGHTCAP_CAPTION_OPTIONS_INIT                                                    \
  {                                                                                      \
    sizeof(lightcap_caption_options), 1, 1.0, 0, UINT64_C(1) << 26, NULL, NULL, NULL, 0, \
        LIGHTCAP_WORK_CAPTION, NULL                                                      \
  }

typedef struct lightcap_concept {
  const char* label;
  float similarity; /* cosine, -1 to 1 */
  float score; /* the proposal's, 0 to 1; 0 where the whole image stands in for lack of proposals */
  float box[4]; /* x1 y1 x2 y2, pixels of the (upright) image */
} lightcap_concept;

/* Milliseconds of wall-clock time. Has these fields for ever. read_image is the reading and
 * decoding of an image, 0 for pixels; total is the whole call, read_image included. */
typedef struct lightcap_timings {
  double read_image, preprocess, detector, image_encoder, concepts, fusion_prefix, decoding, total;
} lightcap_timings;

/* One of the captions that beam search found. */
typedef struct lightcap_hypothesis {
  const char* caption; /* UTF-8 */
  double score;
  const uint32_t* tokens;               /* generated ids, [SEP] included */
  const float* token_log_probabilities; /* natural, of each token given those before it */
  size_t token_count;
} lightcap_hypothesis;

/* Strings and arrays belong to the session and last until its next caption. */
typedef struct lightcap_result {
  size_t struct_size;
  const char* caption; /* UTF-8 */
  double score;
  const uint32_t* tokens; /* generated ids, [SEP] included */
  size_t token_count;
  const lightcap_concept*
      concepts; /* one for each proposal, best proposal first; labels may repeat */
  size_t concept_count;
  lightcap_timings timings_ms;
  size_t concept_bytes; /* from one of the concepts to the next, see lightcap_concept_at() */
  const float* token_log_probabilities;  /* of each of `tokens`: their sum / length^alpha is the
                                            score */
  const lightcap_hypothesis* hypotheses; /* best first, up to `beams`; the first is the caption */
  size_t hypothesis_count;
  size_t hypothesis_bytes; /* from one to the next, see lightcap_hypothesis_at() */
} lightcap_result;
#define LIGHTCAP_TIMINGS_INIT \
  { 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0 }
#define LIGHTCAP_RESULT_INIT                                                                       \
  {                                                                                                \
    sizeof(lightcap_result), NULL, 0.0, NULL, 0, NULL, 0, LIGHTCAP_TIMINGS_INIT, 0, NULL, NULL, 0, \
        0                                                                                          \
  }

/* The concept at `index`, right for a library whose concepts have more fields than this header
 * knows. NULL beyond the last one, and of a NULL result. */
LIGHTCAP_API const lightcap_concept* lightcap_concept_at(const lightcap_result* result,
                                                         size_t index);

/* The same of hypotheses. */
LIGHTCAP_API const lightcap_hypothesis* lightcap_hypothesis_at(const lightcap_result* result,
                                                               size_t index);

/* The four functions below caption one picture. Beside the statuses that any function may return
 * there is LIGHTCAP_ERROR_INPUT: the picture is missing, unreadable, malformed or over a limit; and
 * LIGHTCAP_ERROR_CANCELLED, where options.cancel, on_token or deadline_ms ended it. These end every
 * stage within 5 ms, the reading and decoding of files of 12 megapixels too, with two exceptions: a
 * progressive JPEG with scans whose data are missing (6 ms), and systems that have no huge pages to
 * give, where giving back what a decoder held takes longer (up to 12 ms for a PNG of 16 bits).
 * LIGHTCAP_ERROR_USAGE is also for a session that is captioning already, on another thread or from
 * inside of a callback. After an error `*result` is as it was. */

/* 8-bit RGB, rows `row_bytes` apart (0: width * 3). `rgb` is not used after the call. Allocates
 * nothing. */
LIGHTCAP_API lightcap_status lightcap_caption_pixels(lightcap_session* session, const uint8_t* rgb,
                                                     size_t width, size_t height, size_t row_bytes,
                                                     const lightcap_caption_options* options,
                                                     lightcap_result* result);

/* The bytes of a pixel, in this order. */
typedef enum lightcap_pixels {
  LIGHTCAP_PIXELS_RGB = 0,
  LIGHTCAP_PIXELS_BGR = 1,
  LIGHTCAP_PIXELS_RGBA = 2, /* alpha is not looked at */
  LIGHTCAP_PIXELS_BGRA = 3,
  LIGHTCAP_PIXELS_GREY = 4,
  /* 4:2:0 in three planes, Y, U and V, the latter with a value for each 2 x 2 pixels in rows and
   * columns rounded up. With pixel_bytes of 1 it is I420 (YV12 with planes 1 and 2 exchanged), with
   * what Android's Image.Plane says it is YUV_420_888. */
  LIGHTCAP_PIXELS_YUV420 = 5,
  LIGHTCAP_PIXELS_NV12 = 6, /* two planes: Y; U and V by turns */
  LIGHTCAP_PIXELS_NV21 = 7  /* two planes: Y; V and U by turns */
} lightcap_pixels;

/* A picture in memory, as cameras and screens have it. It is read where it lies. */
typedef struct lightcap_frame {
  size_t struct_size;
  int format;           /* one of lightcap_pixels */
  int orientation;      /* EXIF's, 1 to 8: how to turn the picture upright; 0: as 1, it is upright.
                           options.ignore_exif is not about it */
  size_t width, height; /* as stored */
  const uint8_t* plane[3]; /* as many as the format has, the rest is not looked at */
  size_t row_bytes[3];     /* from a row to the next; 0: rows without gaps */
  size_t pixel_bytes[3];   /* from a pixel to the next, of planes of U and V from a value to the
                              next; 0: as the format says, 1 in planes of LIGHTCAP_PIXELS_YUV420 */
  int full_range;          /* YUV: 0: Y is 16 to 235, U and V 16 to 240; 1: 0 to 255, as in JPEG */
  int bt709;               /* YUV: 0: the matrix of BT.601; 1: that of BT.709 */
} lightcap_frame;
#define LIGHTCAP_FRAME_INIT                                                              \
  {                                                                                      \
    sizeof(lightcap_frame), LIGHTCAP_PIXELS_RGB, 1, 0, 0, {NULL, NULL, NULL}, {0, 0, 0}, \
        {0, 0, 0}, 0, 0                                                                  \
  }

/* The pixels are not used after the call. Allocates nothing: rows become RGB when they are needed.
 * Boxes are in pixels of the upright picture. */
LIGHTCAP_API lightcap_status lightcap_caption_frame(lightcap_session* session,
                                                    const lightcap_frame* frame,
                                                    const lightcap_caption_options* options,
                                                    lightcap_result* result);
/* The bytes of a JPEG, PNG, BMP or PNM file. `data` is not used after the call. */
LIGHTCAP_API lightcap_status lightcap_caption_image(lightcap_session* session, const void* data,
                                                    size_t size,
                                                    const lightcap_caption_options* options,
                                                    lightcap_result* result);
/* A JPEG, PNG, BMP or PNM file. */
LIGHTCAP_API lightcap_status lightcap_caption_file(lightcap_session* session, const char* path,
                                                   const lightcap_caption_options* options,
                                                   lightcap_result* result);

/* The features that the image encoder found in the session's last picture: of a grid of side x side
 * cells, `channels` numbers each, not negative. */
typedef struct lightcap_features {
  size_t struct_size;
  size_t side, channels;
  const float* grid; /* cell (x, y) begins at y * row_floats + x * cell_floats */
  size_t cell_floats, row_floats;
  const float* embedding; /* [channels], the mean of all cells, made to have length 1: the scalar
                             product of two pictures' says how alike they are */
} lightcap_features;
#define LIGHTCAP_FEATURES_INIT \
  { sizeof(lightcap_features), 0, 0, NULL, 0, 0, NULL }

/* The arrays belong to the session and last until its next caption. LIGHTCAP_ERROR_USAGE if its
 * last caption failed, or there was none. Allocates nothing. */
LIGHTCAP_API lightcap_status lightcap_session_features(lightcap_session* session,
                                                       lightcap_features* features);

/* Called when a stage of a caption begins (1) and ends (0), on the thread that captions: for
 * tracers. `name`, which is never freed, is that of a field of lightcap_timings. A stage that
 * begins also ends, by an error too. */
typedef void (*lightcap_stage_function)(void* context, const char* name, int begins);
/* Tells of this session's stages; NULL ends it. `context` must live until then. Not to be called
 * while the session captions. */
LIGHTCAP_API void lightcap_session_set_stage(lightcap_session* session,
                                             lightcap_stage_function stage, void* context);

/* Called with every stage's result while captions run, on the thread that captions: fp32,
 * row-major, `dims` outermost first. `name`, `data` and `dims` are valid during the call. Names:
 * encoder_input, detector_input, image_features, detections, roi_features, concept_similarity,
 * gate, prefix, and of captions with one beam log_probabilities of each step: a search has no one
 * row of them. */
typedef void (*lightcap_trace_function)(void* context, const char* name, const float* data,
                                        const size_t* dims, size_t ndim);
/* Traces this session's captions, which then allocate and copy; NULL ends it. `context` must live
 * until then. Not to be called while the session captions. */
LIGHTCAP_API void lightcap_session_set_trace(lightcap_session* session,
                                             lightcap_trace_function trace, void* context);

#ifdef __cplusplus
}
#endif

#endif /* LIGHTCAP_H_ */
