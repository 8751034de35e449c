// A CDN edge in front of a private bucket: checks Strata's signed URLs and signs what is fetched from the bucket.
// For njs 0.7.9 and newer. The two signature schemes are defined in docs/downloads.md.
//
// Every request has its own copy of the engine, so nothing is remembered between requests: key files are read for each
// of them, from the page cache, and a key that was added or removed counts at once.
import crypto from 'crypto';
import fs from 'fs';

const OBJECT = /^\/([0-9a-f]{2})\/([0-9a-f]{32})$/;
// One order, nothing else, nothing twice: what cannot be written in two ways cannot be read in two ways.
const HMAC = /^expires=([1-9][0-9]{0,11})&key=([A-Za-z0-9_-]{1,64})&signature=([A-Za-z0-9_-]{43})$/;
const CLOUDFRONT = /^Expires=([1-9][0-9]{0,11})&Signature=([A-Za-z0-9~_-]{1,1024})&Key-Pair-Id=([A-Za-z0-9_-]{1,64})$/;
const HASH_OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

// The request's path and query as the client wrote them: what is signed is neither decoded nor normalised.
function target(r) {
    const text = r.variables.request_uri;
    const mark = text.indexOf('?');
    return mark < 0 ? { path: text, query: '' } : { path: text.slice(0, mark), query: text.slice(mark + 1) };
}

// Of https://host/folder: /folder, or nothing.
function folder(url) {
    return url.replace(/^[a-z]+:\/\/[^/]*/, '');
}

// For js_set: `/<prefix><first two digits>/<key>` of an object that there can be, else nothing. Only such names ever
// reach the bucket or the cache, whoever signs.
function object(r) {
    const path = target(r).path;
    const base = folder(r.variables.edge_url) + '/' + r.variables.edge_prefix;
    const found = path.startsWith(base) ? OBJECT.exec('/' + path.slice(base.length)) : null;
    return found && found[2].startsWith(found[1]) ? '/' + r.variables.edge_prefix + found[1] + '/' + found[2] : '';
}

// For js_content in the location that auth_request asks: 204 or 403.
async function verify(r) {
    let isGood = false;
    try {
        isGood = object(r) !== '' && await isSigned(r, target(r));
    } catch (error) {
        tell(r, 'the URL could not be checked: ' + error);
    }
    r.return(isGood ? 204 : 403);
}

// In access.log: what is told in error.log of a client's request comes with its signature.
function tell(r, fault) {
    r.variables.edge_fault = fault;
}

async function isSigned(r, asked) {
    const now = Math.floor(Date.now() / 1000);
    const hmac = HMAC.exec(asked.query);
    if (hmac) {
        const secret = keyFile(r, hmac[2] + '.hmac');
        return secret !== null && now < Number(hmac[1])
            && isEqual(hmac[3], mac(secret, asked.path + '\n' + hmac[1] + '\n' + hmac[2]));
    }
    const cloudFront = CLOUDFRONT.exec(asked.query);
    if (cloudFront) {
        const pem = keyFile(r, cloudFront[3] + '.pem');
        return pem !== null && now < Number(cloudFront[1]) && await isCanned(r, asked.path, cloudFront, pem);
    }
    return false;
}

// Nil if there is no such key. The name holds no dot or slash but ours, so it stays in the folder.
function keyFile(r, name) {
    try {
        return fs.readFileSync(r.variables.edge_keys + '/' + name);
    } catch (error) {
        if (error.code !== 'ENOENT') { tell(r, 'the key ' + name + ' cannot be read: ' + error); }
        return null;
    }
}

// Line ends at the end of the file are not part of the secret; one that is too short is no secret at all.
function mac(file, text) {
    let end = file.length;
    while (end > 0 && (file[end - 1] === 10 || file[end - 1] === 13)) { end -= 1; }
    if (end < 32) { throw new Error('the HMAC key has fewer than 32 bytes'); }
    return crypto.createHmac('sha256', file.slice(0, end)).update(text).digest('base64url');
}

// Looks at all characters, so that the time it takes does not tell how many of them were right.
function isEqual(given, right) {
    let difference = given.length ^ right.length;
    for (let i = 0; i < right.length; i += 1) { difference |= given.charCodeAt(i) ^ right.charCodeAt(i); }
    return difference === 0;
}

async function isCanned(r, path, given, pem) {
    const subtle = globalThis.crypto.subtle;
    const scheme = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-1' };
    const der = Buffer.from(pem.toString().replace(/-----[A-Z ]+-----|\s/g, ''), 'base64');
    const key = await subtle.importKey('spki', der, scheme, false, ['verify']);
    const base64 = given[2].replace(/-/g, '+').replace(/_/g, '=').replace(/~/g, '/');
    const url = r.variables.edge_url.slice(0, r.variables.edge_url.length - folder(r.variables.edge_url).length) + path;
    const policy = '{"Statement":[{"Resource":"' + url + '","Condition":{"DateLessThan":{"AWS:EpochTime":'
        + given[1] + '}}}]}';
    return subtle.verify(scheme, key, Buffer.from(base64, 'base64'), Buffer.from(policy));
}

// For js_set, in the server that fetches: this moment as Signature Version 4 writes it, one for all headers of a fetch.
function date(r) {
    if (!r.variables.edge_moment) {
        r.variables.edge_moment = new Date().toISOString().replace(/[-:]|\.[0-9]+/g, '');
    }
    return r.variables.edge_moment;
}

// For js_set: the Authorization of a GET from the bucket, as Signature Version 4 has it.
function authorization(r) {
    const keys = fs.readFileSync(r.variables.edge_credentials).toString().split('\n');
    const moment = date(r);
    const scope = moment.slice(0, 8) + '/' + r.variables.edge_region + '/s3/aws4_request';
    const names = 'host;x-amz-content-sha256;x-amz-date';
    const request = ['GET', '/' + r.variables.edge_bucket + target(r).path, '', 'host:' + r.variables.edge_origin_host,
        'x-amz-content-sha256:' + HASH_OF_NOTHING, 'x-amz-date:' + moment, '', names, HASH_OF_NOTHING].join('\n');
    const hash = crypto.createHash('sha256').update(request).digest('hex');
    const key = scope.split('/').reduce(function (key, part) {
        return crypto.createHmac('sha256', key).update(part).digest();
    }, 'AWS4' + keys[1].trim());
    const text = ['AWS4-HMAC-SHA256', moment, scope, hash].join('\n');
    return 'AWS4-HMAC-SHA256 Credential=' + keys[0].trim() + '/' + scope + ',SignedHeaders=' + names + ',Signature='
        + crypto.createHmac('sha256', key).update(text).digest('hex');
}

export default { object, verify, date, authorization, hashOfNothing: function () { return HASH_OF_NOTHING; } };
