"""Every error code: what it means, where it usually comes from, what to do. ``syurmy-vm explain CODE`` prints them.

A line each, code first; a code that an error carries and this list lacks fails a test.
"""

from __future__ import annotations

FAMILIES = {
    "A": "tensor assembly",
    "C": "constraints",
    "D": "the debugger",
    "E": "other",
    "F": "files",
    "I": "inputs and options",
    "K": "keys",
    "M": "ONNX models",
    "P": "proving",
    "T": "traps, which stop a run",
    "V": "verdicts",
    "X": "the command line",
}

_TEXT = """
A100 The line is no statement. A statement is a declaration (.input, .param, ...), a label or an instruction with operands separated by commas; comments start with a semicolon.
A101 A word that begins with a dot is no directive. docs/isa.md lists them; a name may hold dots, but not begin with one.
A102 Parentheses, braces or operators are nested too deeply to be read. Name the parts with .const.
A103 The word cannot be a name here: names begin with a letter or an underscore and are no dtype and neither true nor false.
A104 Two things have the same name, and every later use would be ambiguous. Rename one; labels inside macros begin with % and are new in every call.
A105 A tensor's shape is not possible: at most 8 axes, each at least 1 long, less than 2^31 entries.
A106 The bounds are no interval inside the dtype. i8, i16 and i32 hold their usual range, i64 from -2^61 to 2^61 - 1.
A107 An l1 bound names axes that the param has not, or is no bound. It is written l1 (axes)=bound and limits the sum of absolute values over those axes.
A108 A param has neither values nor bounds. A public one needs its values, a committed one at least bounds lo..hi, which set-up then checks.
A109 A table has too few or too many rows, or leaves its dtypes: 1 to 65536 rows, one for each value of its domain (in lo..hi).
A110 There is no instruction or macro of that name. Macros come from .macro or from an .include such as "nn.tasm".
A111 Who may see it is not said, or said with the wrong word: inputs and outputs are public, private or committed, params are public or committed.
A112 The operands are not those that the instruction takes. Its usage line shows their order: the result, the sources, then attributes.
A113 The instruction has no such attribute, or was given it twice.
A114 An attribute has a value of another kind than it takes, such as a name where a number is needed.
A115 An attribute that has no default is missing.
A116 dtypes are i8, i16, i32 and i64: the machine computes with integers. Reals are scaled first; compile does that for models.
A117 The program is too large: more than 2^18 instructions or 2^16 macro calls, most often a macro that calls others again and again. Use repeat.
A118 A constant integer is needed and this is none: a register, a loop counter, a division by zero, or a number that is too large.
A119 .for goes over the rows of an input or a param with at least one axis. For a register write repeat COUNT, t and read x[t].
A120 Nothing of this name is known here. Constants are defined before they are used; registers are written before they are read.
A121 The name stands for something else than is needed: a table, a buffer, a constant or a tensor. load and store read buffers, lut tables, gather tensors.
A122 A loop counter exists inside its block only.
A123 Inputs, params, tables and counters cannot be written. Write to a register of another name.
A124 A committed input or output is public too, an input and an output are committed under one name, or more than 16 are committed.
A130 There is an end without a repeat before it.
A131 A repeat block is not closed by end.
A132 A block runs 1 to 2^31 - 1 rounds; the count is a constant. For a count that data decides, use labels and a conditional jump.
A133 A program ends outside all blocks, and nothing that cannot be reached may follow halt.
A134 The last instruction is halt, ret or jmp.
A135 A jump leads out of its block, into another, or nowhere. Its label stands in the same block, at the latest before end.
A136 No label has that name, or nothing follows it.
A137 Blocks are nested more than 64 deep.
A140 Only instructions and declarations may stand in a macro, no .macro, .include or .program.
A141 .macro and .endmacro do not pair.
A142 A macro's parameters are distinct names without %.
A143 A macro calls itself, directly or through others. Use repeat, or call and ret.
A144 The arguments do not fit the macro's parameters.
A145 Names that begin with % are local to macros.
A150 The included file is neither beside the including one, nor in the include folders, nor in the library.
A151 A file includes itself, directly or through others.
A200 An instruction does not take operands of this dtype, shape or interval. The message says which rule is broken.
A210 A value could leave what integers here can hold: every register has an interval that holds on every run, and it may not leave its dtype, for i64 +-2^61. Narrow an operand before it grows: cast traps where a value does not fit, clamp saturates, rescale divides and rounds. Or declare a smaller input: .input x : i32[] private in 0..1000.
A220 Shapes do not fit each other. Axes are compared from the last one on; lengths are equal or 1.
A221 An axis is named twice or does not exist; axes count from 0, or from -1 backwards.
A222 A part of a tensor leaves it, or an axis is empty. With loop counters, all rounds must stay inside.
A223 An attribute is outside the values that the instruction takes.
A224 An einsum spec does not describe its sources and result: one letter for each axis, such as bi,io->bo.
A225 A tensor has more than 2^28 entries. Work on parts of it in a loop.
A230 A register is read before it is written, on at least one path to this line.
A231 A register has one type on one path or round and another on the next. Cast it to the same dtype behind every line that writes it; what a loop accumulates needs a cast or clamp in every round.
A232 An output is not written, on at least one path to halt.
A233 No path reaches halt.
A234 A routine calls itself, or more than 64 call one another. There is no stack; keep what you need in a buffer.
A235 ret is reached without a call. Put routines behind the last halt.
A236 Too many registers are alive where too many paths meet. Use fewer jumps, or buffers.
A240 A condition is 0 or 1. Make it with eq, lt or another comparison.
A250 rescale takes a shift of 0 to 48, a multiplier of 1 to 2^31 - 1, and narrows to i8, i16 or i32.
A251 All values of an operand are such that the instruction would trap: a divisor that is never positive, a root of a negative number.
A252 Bitwise operands have the same dtype, i8, i16 or i32. Cast one of them.
A260 Row numbers are a scalar or a vector.
A261 What is stored has not the shape of the buffer's rows.
A262 A scalar has no rows.
A263 There is nothing to sort, or k is larger than the axis.
A264 What fills a buffer has another shape or leaves its dtype.
A300 Inline data cannot be used.
A301 Data files are .npy, .npz or .safetensors; the last two hold named arrays: "weights.npz:w1".
A302 The data file is not there. Paths start from the file that names them.
A303 The data file is damaged or not of the type its name says.
A304 The data file has no array of that name.
A310 Data is not integer, or holds NaN or infinity. Quantise it: scale, round, store as the declared dtype.
A311 Data has another shape than is declared, or rows of unlike length.
A312 An entry does not fit the declared dtype.
A313 Data leaves the bounds that its declaration promises.
C100 The program cannot be proven: an equation over the field would not follow from one over the integers. Narrow the operands.
C110 A tensor, over all its executions, has more than 2^28 entries, or a value in between could grow beyond the field. Prove fewer rounds or inputs at once, or narrow operands.
C111 The run writes more than 2^34 tensor entries. Split it into several proofs.
C113 A sum of magnitudes of a param could grow beyond the field, so its l1 bound cannot be certified.
C112 Planning and verifying would be far more work than the program itself computes; such keys are refused so that nobody can stall a verifier.
C120 The branch bits of a proof are not those of a run of its program.
D100 The debugger cannot do that.
D101 The expression cannot be read. It names registers, parts of them and counters, compares and computes: h.max() > 1000 and step > 40.
D102 The name has no value here: it is unknown, written later, or counts a loop that is not running.
D103 One element is needed. Say which, as in h[0, 3].
D104 The expression has no value here.
D110 There is no such place. A place is a line, FILE:LINE, a label, a macro, a node, @INSTRUCTION or trap.
D111 A breakpoint or watchpoint is not possible like this.
D112 That step lies outside what has run.
D120 There is no such command, or several begin like this. help lists them.
D121 The command has other arguments.
E000 An error of no other kind.
F100 A file cannot be read: it is not there, or the system does not allow it. A pipe or device is read to 256 MiB.
F110 A file does not hold what its name says, or is damaged.
F111 A file holds several entries or no such entry. Name one as FILE:KEY.
F112 This is no program. Commands take PROG.tasm, the folder of a compiled model, or MODEL.onnx.
F120 A file cannot be written. Nothing was changed; parts of a bundle that are finished are kept, and the same command goes on from there.
F121 compile writes into a new or empty folder, or over a model that it made; files of others stay untouched.
F130 A file is there already that must not be lost: a proof of another run, a commitment, a key. --force replaces it where there is that option; or name another file (--proof FILE).
F131 The folder FILE.parts beside a bundle, or a certificate, holds finished parts of another run: other inputs, or another key. Prove that run to its end, write this one elsewhere with --proof FILE (certify: -o FILE), or drop what is there with --force (certify: delete it).
F132 Another process proves, or certifies, the segments of the same bundle. One is enough; it keeps what it finishes.
I100 A file, an input or an option cannot be used.
I101 There is no input of that name.
I102 An input has no value. Give --input NAME=VALUE or NAME=FILE, or put PROG.inputs.json beside the program.
I103 An input does not hold numbers, or is no rectangular array.
I104 An input holds reals, NaN or infinity where integers are needed. Scale and round it; a compiled model does so by itself.
I105 An input has another shape. Only axes of length 1 are added or left out for you; many inputs at once need --batch.
I106 A value is outside what the program declares or the dtype holds.
I107 An input is given twice, or a JSON object names something twice.
I108 It is not said which input a file is for. Use NAME=FILE.
I109 The inputs of a batch have one more leading axis, of the same length, at least 1.
I110 An option of the compiler has no usable value.
I111 A shape, unit or label is written NAME=VALUE, such as --shape x=1,3,32,32.
I112 The compiler has no such option.
I113 What --expect asks for is no value: use NAME=VALUE or NAME=FILE.
I114 --expect-key, and --expect for a commitment, take at least 50 hexadecimal digits of a digest, as setup, commit and info print it. Whoever makes a key or a commitment can make two that agree in fewer.
I115 An image or a sound has not the size of its input. It is not resized or cut, as that decides what the model sees: prepare it as the training data was.
I116 Labels do not fit the output that they are for.
I117 What is expected cannot be compared with what the key says its integers stand for. Expect the integers, with --raw.
I118 An object of another kind is expected here; the message says which. verify takes key and proof, in this order, each as an object, bytes or a path.
I119 An input cannot be read from the other model: no such tensor, another shape or dtype, or one that its model only compares, which has no scale.
I120 The program is none that bytes can stand for.
I121 The bytes are no program, or of another version of the format. Assemble it again.
I122 The bytes of a program are damaged or not in their canonical form.
I123 The bytes are those of a program that breaks a rule.
I130 The description beside the program is not JSON of the form that the documentation of descriptions shows.
I131 The description names an input, output or field that there is not.
I140 The prompt and what is wanted do not fit: at least one token is given, at most as many as the program is for. compile --shape ids=1,64 makes one for 64, --cache 62 one that reads them token by token.
I141 The model has no such token.
I142 The tokenizer is of another model: it is not the one that was compiled with the model, or has other tokens.
I143 The text holds a character that the vocabulary has not.
I144 The program does not state what a language model writes. compile --generate greedy makes one that does.
I145 There is no tokenizer to read a text with. Give --tokenizer FILE, or tokens with --tokens 1,2,3.
I146 Run at once, the program does not choose the tokens that it chose one by one: later tokens reach earlier logits by less than compile noticed.
I147 The program is one step of writing a text: it reads one token or some, and the caches of those before. `generate` runs it from token to token and proves the chain; alone a step proves nothing of a text.
I148 The runs to prove are no steps of one: each begins with what the one before puts out, the first where the key says, and there are not more than the key is for.
I150 The value that the debugger is to put in does not fit there.
I160 A program cannot be cut where it is asked, or into so many segments. Cuts lie outside of blocks, jumps and routines, not within the life of a buffer, and at most 16 tensors may cross into and out of a segment. Ask for fewer segments, or auto.
I161 A model that is cut into segments has a key for each, and one of the whole: in Python model.bundle_key() and model.prove(). One that is not cut has neither.
I190 The trace does not satisfy the constraints: a defect of this software. Please report it, with what check prints.
K120 The file is no verifying key.
K121 The key was made by another version of the protocol. Make it again with setup.
K122 The verifying key is truncated or damaged.
K123 The verifying key's program cannot be proven or read.
K124 A key's description contradicts its program or is not in canonical form.
K127 The verifying key of bundles is damaged, or its segments do not make a whole: one takes in what no earlier one puts out, or declares it otherwise; or its steps cannot hand on what it says. Get the file again from its maker.
K130 The file is no proving key, or is damaged. Run setup again.
K131 The proving key was made for another program, other params, another description or step limit. Run setup again.
K132 The proving key was made by another version. Run setup again.
K133 There is no proving key of that name: setup makes it.
K140 A committed param has no values, so no key can be made.
K141 A param has another shape than the program declares.
K142 A param leaves its declared bounds.
K143 A param breaks its declared l1 bound.
K144 The step limit is outside 1 to 2^24, the most that is proven.
K145 The proofs made with a key are counted in one file. A key that counts in a file already is not saved under another name: both would count for themselves. syurmy-vm share makes a copy with a part of them.
K146 The key that is there makes proofs that hide what is private, and --no-zk asks for one that does not. setup --no-zk --renew replaces it; --keys DIR keeps both.
K149 The program has no committed param, so nothing of its key needs a certificate.
K147 A key is for at least 1 and at most 16384 proofs (setup --proofs).
K148 The key that is there makes proofs that do not hide what is private, and nobody asked for that. --no-zk uses it all the same; setup --renew replaces it; --keys DIR keeps both.
K150 The file is no proof.
K152 The file is no key certificate; or that of a single program where one of bundles is needed, or the other way round.
K153 The certificate belongs to another key: a proof under this one cannot rest on it. certify makes its own.
K154 A certificate opens as much of a key's hidden params as several proofs; N - 1 of the N proofs that the key is for are left if they rest on it. This key is for one. setup --renew --proofs N makes one for more.
K155 What hides params or a committed tensor counts its proofs; where it was not saved, in memory only, which another process does not share. Save it and load it there.
K156 A bundle of segments' proofs is verified under the key of the whole, a single proof under the key of its program.
K151 The file is none of those that info reads: programs, folders of compiled models, keys, certificates, proofs.
K160 The program has changed and with it the key, which others may have, or its secrets are lost with the .pk. --rekey replaces it; --keys DIR or setup --out DIR keeps both.
K170 The file is no commitment to a tensor.
K171 The commitment, or its opening, is of another version of the protocol: make it again, or update.
K172 The commitment is damaged. Its digest would be another one.
K173 The opening of a commitment cannot be read, or is damaged. It is secret and kept by who committed; without it, commit again.
K174 No such commitment is possible: it is for 1 to 1024 proofs and at most 2^28 entries.
K175 The tensor to commit does not fit the dtype that is to be committed.
K176 Nothing can be given to a copy: the key or commitment hides nothing that is counted, or is for fewer proofs than were asked for.
M100 A model cannot be read or is not valid.
M101 The file is no ONNX model, or truncated. Export the model to ONNX first.
M102 The model's weights are in a file beside it that is missing or no more than a pointer.
M103 The graph reads what nothing writes, or is cyclic.
M104 The model's opset is too old or unknown. Export it with another opset_version.
M105 A weight is NaN or infinite, or cannot be read.
M106 The model's file is larger than 2 GiB. Store its weights beside it.
M107 A shape is not fixed, or not what --shape says. Fix it with --shape NAME=1,3,32,32; lengths that the model fixes, and the token that --cache reads, are not given.
M108 The model breaks a rule of ONNX or does not run on a sample.
M109 The calibration data cannot be used: one sample or several stacked, for every input.
M110 Some operators have no lowering, or not with these attributes. docs/operators.md lists what there is.
M112 The model is no causal language model of a form that can be wrapped: token ids [1, tokens] in (besides them at most attention_mask, position_ids, token_type_ids and a cache past_* of free length), logits [1, tokens, vocabulary] out. With --cache: a token, attention_mask, position_ids and caches past_* in, logits and presents out that are the caches with one place more behind them.
M113 Logits change with tokens that come later, so nothing is written token after token. Export the model with its causal mask; where the program does so and the model does not, masked scores are not low enough to vanish in softmax.
M111 The float model itself gives NaN on a sample, so there is nothing to prove.
M114 The file is small and what it stands for is not: nodes of functions within functions, entries of a tensor (at most 2^28) or of all of them, rounds of a Loop (at most 16384).
P170 The prover counted other claims than the plan: a defect of this software. Please report it.
P171 The run is too large for 100 bits of soundness. Prove a smaller batch or fewer steps.
P172 The proof needs more memory than is free on the graphics card. Codewords that do not fit are made in strips; all else has to fit. Prove with --device cpu, or a smaller batch.
P180 The params of a key, or a committed tensor, stay hidden while few enough of their positions are opened. Proofs open some each, a certificate as many as several proofs; fewer are left than this one needs. setup --renew --proofs N makes a new key for N proofs, commit --proofs N a new commitment.
P181 The count of proofs beside the proving key (PROG.pk.used) or the opening (X.opening.used) is missing, damaged or of another one. Without it nothing would stay hidden. A copy gets a count of its own by syurmy-vm share; setup --renew makes a new key, commit a new commitment.
P184 An input or output is declared committed, and no commitment to it was given to the prover. commit makes one; give its opening with -i NAME=@FILE.opening.
P185 A commitment is given for something that is not declared committed.
P186 A commitment hides its tensor and the key's proofs hide nothing, or the other way round: one of them would show what the other hides. Commit again in the key's mode.
P187 A commitment is to a tensor of another dtype, shape or batch than the program declares.
P188 The integers of a commitment and those of the program stand for other values: two scales, say. compile --read NAME=DIR gives an input the scale of what the model in DIR gives or takes.
P189 A commitment is to other values than those of the run.
P190 Set-up, a proof or compiling would take more memory than --memory allows, or compiling more than the machine has. Of the first two known before anything is allocated, of compiling from the model's file, from the float model's first run and before each program that is made; the message says how much it needs.
T100 The run stopped at an error of the program.
T101 The run takes more instructions than allowed. Raise --max-steps, which is part of the key, or look for a loop that does not end.
T110 An assertion does not hold.
T120 A value does not fit the dtype that it is cast to.
T130 A value is outside the domain of a table.
T140 A divisor is not positive.
T141 A root of a negative number.
T150 A row number is outside its buffer or tensor.
V100 The proof is rejected: it does not show that the key's program ran as it says. Either it was damaged or forged, or it belongs to another key or version.
V110 A proof that was just made is rejected: the proving key is damaged, or this software is. Delete the key and try again.
V120 The proof is valid, but does not show the values that were expected.
V121 The key is valid, but not the one that was expected.
V122 The certificate is rejected: it does not show that the params of this key are what its program declares. Either it was damaged or forged, or it belongs to another key or version.
X130 Interrupted. Files are written whole or not at all.
X140 There is not enough memory.
X150 An optional package is needed for this. The message says which extra to install.
X151 Reports and charts need the package plotly: pip install 'syurmy-vm[report]'.
X160 The program has no .expect line, so there is nothing to test.
X161 A register does not hold what an .expect line says, or the run never came there.
X162 A cluster cannot prove this: no scheduler answers at the address, or it is gone; it has no workers, or one of another version of syurmy-vm or with another key at the path; workers died again and again (most often for want of memory), failed, or have less memory than a proof takes. docs/large_models.md says how clusters are set up.
X163 The store of keys (--store) cannot be written or read, or what is there is damaged, another key, longer than it may be, or of another version. It is a folder, or a URL of fsspec, for which a package such as s3fs may be needed.
X170 A defect of this software. Please report it, with the command and what --debug prints.
X180 Something on this machine keeps it from proving.
X181 There is no such device to prove on: cpu, cuda, cuda:N and auto are names of devices, and the message says why there is no card. syurmy-vm devices shows what there is; --device cpu proves everywhere.
X190 The folder is there already and not empty.
X191 There is no such code.
X192 An option says how to prove, but nothing is proven. Add --prove, or leave it out.
X193 --memory is no amount of memory: a number with K, M, G or T behind it, such as 8G.
X194 The command line is not understood: the message names the option or the argument. syurmy-vm COMMAND -h lists them.
K100 check found a constraint that the run does not satisfy: a defect of this software, or a trace that was changed.
"""

EXPLANATIONS: dict[str, str] = {line[:4]: line[5:] for line in _TEXT.strip().splitlines()}
