/* One blob and the keys of its objects: uploads that race for it, the collector that gives a dead blob's key to the trash,
   deleters, and a reader that goes on with a location that it was told. Repositories are one bit here: what makes links to
   blobs, and takes them away, is the subject of Links.pml, which also says how to read this. */

#ifndef CLIENTS
#define CLIENTS 2
#endif
#define CACHED 1   /* how long a reader goes on with a location: a signed URL's lifetime and the longest download */
#ifdef NODELAY
#define TRASH 0
#else
#define TRASH 1    /* how long bytes stay readable: not less, which the configuration insists on */
#endif
#define KEYS 3     /* one for each upload, and one that is published or in the trash */
#define NONE KEYS

bit blob, blobLocked, blobHint, blobClaimed, linked;
byte blobShared, blobKey = NONE;

typedef Key {
    bit trashed, published;  /* the row in object_trash; that in blob_copy */
    bit claimed, locked;     /* of the row in the trash: condemned for good; held by a transaction */
    bit object; byte held;   /* the bytes; how many uploads and deleters have it in their hands */
    bit due                  /* left until the bytes may be deleted: only what was published has readers */
}
Key key[KEYS];

byte cachedKey = NONE;
bit cached;                  /* left of how long the reader goes on with it */

/* A key that nobody remembers stands for a new one: the model would else need new keys for ever. */
#define UNUSED(k) (!key[k].trashed && !key[k].published && !key[k].object && !key[k].held && cachedKey != k)

/* ---- What must always hold ---- */

#define BYTES    (!blob || (key[blobKey].published && key[blobKey].object))
#define PLACE(k) (!(key[k].trashed && key[k].published) && (!key[k].published || (blob && blobKey == k)))
#define PLACES   (PLACE(0) && PLACE(1) && PLACE(2))
#define STRAY(k) (!key[k].object || key[k].trashed || key[k].published)
#define STRAYS   (STRAY(0) && STRAY(1) && STRAY(2))
#define READER   (!cached || key[cachedKey].object)
#define LINKS    (!linked || blob)
#define KNOWN    (!blob || linked || blobHint || blobClaimed)

active proctype Invariants() {
    atomic {
        !(LINKS && KNOWN && BYTES && PLACES && STRAYS && READER);
        assert(LINKS); assert(KNOWN); assert(BYTES); assert(PLACES); assert(STRAYS); assert(READER)
    }
}

active proctype Clock() {
    do
    :: d_step {
        key[0].due || key[1].due || key[2].due || cached;
        key[0].due = 0; key[1].due = 0; key[2].due = 0; cached = 0; cachedKey = NONE
       }
    od
}

/* ---- Clients ---- */

inline register(n) { k = n; key[k].trashed = 1; key[k].claimed = 0 }

proctype Uploader() {
    byte k = NONE;
    bit fresh;
again:
    do
    :: /* A key, whose row is there before its bytes. */
       atomic {
#ifdef KEYREUSE
        k = 0;  /* made of the digest */
        if :: !key[0].trashed && !key[0].published -> register(0) :: else fi;
#else
        if
        :: UNUSED(0) -> register(0)
        :: !UNUSED(0) && UNUSED(1) -> register(1)
        :: !UNUSED(0) && !UNUSED(1) && UNUSED(2) -> register(2)
        fi;
#endif
        key[k].held++
       };
       /* Its bytes. Nobody writes to a key that is claimed: a request ends long before its key is due. */
#ifdef OBJECTFIRST
       atomic { key[k].object = 1; key[k].trashed = 0 };
       if :: key[k].trashed = 1 :: goto forget fi;  /* the row comes later, or, after a crash, never */
#else
       atomic { if :: key[k].trashed && !key[k].claimed || key[k].published -> key[k].object = 1 :: else fi };
#endif
       /* DELETE FROM object_trash WHERE skey = … AND claimed_until IS NULL */
       if
       :: atomic { !key[k].locked && key[k].trashed && !key[k].claimed -> key[k].locked = 1 }
#ifdef NOTRASHCHECK
       :: atomic { !key[k].locked && (!key[k].trashed || key[k].claimed) -> key[k].locked = 1 }
#endif
       :: goto forget  /* given up, or 404: it took too long */
       fi;
       /* INSERT INTO blob ON CONFLICT DO NOTHING, then SELECT … FOR KEY SHARE of one that was there. */
       if
       :: atomic { !blobLocked -> if :: blob -> fresh = 0 :: else -> fresh = 1; blobLocked = 1 fi }
       :: goto undo
       fi;
       if
       :: fresh
       :: atomic { !fresh && !blobLocked && blob -> blobShared++ }
       :: !fresh -> goto undo
       fi;
       atomic {
        if
        :: fresh -> blobLocked = 0; blob = 1; linked = 1; blobKey = k; key[k].published = 1; key[k].trashed = 0
        :: !fresh -> blobShared--; linked = 1;
#ifndef LOSERSKEY
           key[k].trashed = 1; key[k].claimed = 1;
#else
           key[k].trashed = 0;
#endif
        :: fresh -> blobLocked = 0
        :: !fresh -> blobShared--
        fi;
        goto undo
       }
    od;
undo:
    atomic { key[k].locked = 0; goto forget }
forget:
    atomic { key[k].held--; k = NONE; fresh = 0; goto again }
}

active proctype Reader() {
    do
    :: atomic { linked && blob; cachedKey = blobKey; cached = CACHED }
    od
}

/* ---- The collector ---- */

/* The last link goes, with a hint in its transaction. Never while somebody makes another: they lock the blob. */
active proctype LinkCollector() {
    do
    :: atomic { linked; linked = 0; blobHint = 1 }
    od
}

active proctype BlobCollector() {
    bit free;
    do
    :: atomic {
        blobHint; blobHint = 0; blobClaimed = 1;
#ifdef CHECKFIRST
        free = !linked
#endif
       };
       if
       :: atomic { !blob; blobClaimed = 0; free = 0 }
       :: atomic { blob && (blobLocked || blobShared > 0); blobClaimed = 0; blobHint = 1; free = 0 }
       :: atomic { blob && !blobLocked && blobShared == 0; blobLocked = 1 };
#ifdef BYTESFIRST
          atomic { if :: !linked -> key[blobKey].object = 0 :: else fi };
#endif
          atomic {
#ifndef CHECKFIRST
            free = !linked;
#endif
            if
            :: free -> blob = 0; key[blobKey].published = 0; key[blobKey].trashed = 1; key[blobKey].claimed = 0;
               key[blobKey].due = TRASH; blobKey = NONE
            :: !free
            :: blobHint = 1  /* undone */
            fi;
            blobLocked = 0; blobClaimed = 0; free = 0
          }
       fi
    od
}

/* A claim may end at any time, and another deleter then has the key, too: that both delete its bytes must not matter. */
active [2] proctype Deleter() {
    byte k = NONE;
    do
    :: atomic {
        if
        :: key[0].trashed && !key[0].locked && !key[0].due -> k = 0
        :: key[1].trashed && !key[1].locked && !key[1].due -> k = 1
        :: key[2].trashed && !key[2].locked && !key[2].due -> k = 2
        fi;
        key[k].claimed = 1; key[k].held++
       };
       if
       :: key[k].object = 0;
          atomic {
            if
            :: key[k].trashed && key[k].claimed && !key[k].locked -> key[k].trashed = 0; key[k].claimed = 0
            :: skip  /* dies in between, or it is forgotten already */
            fi;
            key[k].held--; k = NONE
          }
       :: atomic { key[k].held--; k = NONE }
       fi
    od
}

init {
    atomic {
        byte n = 0;
        do :: n < CLIENTS -> run Uploader(); n++ :: else -> n = 0; break od
    }
}
