/// Keys for tests, used nowhere else. Made with `openssl genrsa` and `openssl ecparam -genkey`.
enum TestKeys {
    /// 2048 bits.
    static let rsa = """
        -----BEGIN PRIVATE KEY-----
        MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCrOXpYpjfTXBZl
        bvEgy+h8TxhsFuoboyBoX8evWRv06Wxeojo3XU82cCUVxgQWgEmN1V+/YICTkDRZ
        aTUHcbn1CcdYQFjmITUd1tGrLbCOmJQMnNu1kfNFHsi9e98ggaGpwCB/TpLT4zCz
        JMlGMqwmjWcrpiEdEkZONgY6RWzXe+9Hk+VATVHYVEgHvbxL3Vkn1Jag0xNrOOvq
        SYegEGJ1QMTclA/9AMCG3LH3zjUZPYHjBRCYtFmvOnL/jheH2TCIRCC3Rh6+pxyW
        hOGku+1bw9hEdm+2fB3G+Ml5QNkFdQ5xPeW+DH6cQj3U83rE5++8O+o3dUx7wUM5
        JIpAwwobAgMBAAECggEACGCfDlBPoe07AUp8zLx9Svu5t6wlVyXTk5fAFuG2vvRe
        w4CPdZ8Anaq9/cM69vje4Gwkq6HmmJGxJgDCQfN8BDOux7AaSWQti6CzkHsDTO7F
        K5rPGyKhcuvPKYoygA4noT0PufrXrztJ6jHuERuwlZBMkHOn4hq/SttU0awM57wJ
        hdYQkxfuzo8XyDOuqCzQX4ntRucFuLEtzaL+Sx4RuZuP77iWcbVAIewGM8JJbaxG
        ftOC1NN4Zh8OEywaQWm+v7l4SAmfA8dLOi1crO/nrSb1okxzdNjwKSo2aR5H5FhV
        LZNtVdbj0PMTGv6DX5KARu1XQg71S/lw65yy8nXPlQKBgQDlascAsfIeb6K+fTA5
        Oi6Am08xpyj2JmYnWOK8C8aTutVkfIQ/pzXZdewMdcauJxXT+li1UfKPsnri3Pm1
        FIqNUj6qlQGalqhMGkHflx6WHwot2Hzpx8+yh9E1Ky/Ie5n+AUq7/yb5baqaKj7t
        6neNY/HRxtE3eCWQv0FlC3mQTQKBgQC/EIc9zVkDYxzkVU3F0ywbi2tXk3z0xiDt
        8E4XS+0g3gERoe0SN7fVhyrWoCEPbpDkY9zON0jG3cZfnY4+KbJXkS29OpYGx2go
        8rGszWsnVHdWaWnBOl5BzXnELmVK7gjE/3Mwq5kF7u4t3FCkzDzmmhs3Q/RUpnVX
        748IDfx4BwKBgG/f9TGClTaAbBWGiPivRbQTiLgG8zOuIAy6DL904p5x8tPw4LEF
        wn3MQpME8CFHEB7yK0Yosyed+s0cw2ypmrM10zduOH0BUQrjlxII6LJ+aoFW2/tJ
        JCDEmKHb8I5MsBis2pv43jGuaA6L4Wo195zsiyUoVig9n9wJWEOFJ//VAoGBAIEe
        aVbhrBL26vJ/l2RmFjuzF2KCoIJGVsCVkiB6RhDdFrnUxQJ3tvtNMi0C3/Su0qoV
        toWBpOQHweSh9BucUBKPYOqtae/A2Go7wMi3tX9JvLAf4sEbcdFkS7LBa+CcRj7j
        JvQwMuRomHtTlQgZodpxMI1Dlh2StGAt22olEYYHAoGBAKQlfnHTlBGUpsXaykKY
        95TgiN+pe5SoGMdXTZ/+3GFgklbklkMXrjtK677nBGe15O5ZN63LY1oMFfnT+lt4
        bmdUf85S7lP4G/bh9xNnWzWIiWjaN8fKfxLspwgQDzK1MbUXMPhrnG/dJK8IfJ+d
        JYgPpzGAwxu1gJyeJ2MpwNRC
        -----END PRIVATE KEY-----
        """

    /// 1024 bits.
    static let weak = """
        -----BEGIN RSA PRIVATE KEY-----
        MIICXgIBAAKBgQCqqcKxyQOQ76ctkfRMe2O1E1zciDKM+fcqL8uRMb+U0PF3o2nv
        tbzP6jzmSBMTCw8qYaK6tdfBx2lXmZ6UiavCi+LB3IJk2Pikgs8o4P+xyEa9pm/K
        Du3O1aDvZXcrDcOgjlm30wlbI5rEZgioxZf1ZMPmg4Pe7IiQNp0c6iP6VwIDAQAB
        AoGAUeHpfAuKHnwdpgulPxzklfiYUWc3edRk9mTAMwW/edNWR6SsK0rzMH6egY6L
        OFPSDu+ReCvPPTZEILegEnyLX5+PxB5ZSeGmPQT4t4koKnJHcBaEJQ5hlNkL5wIo
        IUICsM6EUWyb6o6VniO6hx/MdnjxqAONYl1MC27BZDB3TMECQQDb/ixkAQE5Ly37
        r21NYRXbx0jLeYVfvd3KmgUQ7Z5QfF7m5rIeeWUdWFsBJzwbSu2IfXqCy70Ps+2p
        aHB+UgBJAkEAxpikmLvwzkHm++xno6T2b9pkwHvsBQJjZJOybjTJIa3hiuFCEye5
        fyzINv1oaak9GBjzwooqkYTPZ42N5FFlnwJBAMsI0WVWfA+P2IuSA3nH4YmeajPI
        quyK6hijf4t5EoTL1DacscVoWobz1cHBuTqjM4il7hyq9ol4kR6p0jDzc2kCQQC1
        yk6JPSi+NZdSLmHka4Hme7zUcdtn7nq7O3QO66TdfoTCE1bfn/JuVrjjlW35oqC5
        KUYhY0Z6NF+CxBIJ2PSzAkEA2pyZNIbBd3B5QFQychxxQmprd6tCpfhwsPxbuJvK
        lf/0xEsgYQ44ehnqzCgnuPNSvvyTmiGyp3VV3u6Kvc4rJg==
        -----END RSA PRIVATE KEY-----
        """

    /// On the curve prime256v1.
    static let elliptic = """
        -----BEGIN EC PRIVATE KEY-----
        MHcCAQEEIIn7f4RtL2PpZ5J3Mc8JWT2oLMrYfPssE3BCq9JqYeL9oAoGCCqGSM49
        AwEHoUQDQgAEbS6fan1SbGSvQu4asPTQiA2jq/Ky0prGgeGx5Bmn08V8L1KBqsra
        2dhfM9o0HdbXpIvz345K6rXkLviKQNBCxQ==
        -----END EC PRIVATE KEY-----
        """

    /// ``elliptic``, under a passphrase.
    static let locked = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgi2A88WK7s8AICCAAw
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEED9Nz8woLzsLFODFKPKu9n8EgZD9
        GgDs9Yu46Vu4SC2VQJwrcLVzMt1P0ozwGqVFh/EQkE7NGRQs+Azp6EixiEzJMVdj
        PqVfVH+AFbaX9Qsgfe/xlYXlwxT0PZQE5CxpepY0iK5Vz3x2i945t5LoX9VIUsws
        hrUcdLQHiOJeJi0xpoZSgAvRA/kniKN8CJFC8AK4ITkb26vnqTpEA/CIg0tDitw=
        -----END ENCRYPTED PRIVATE KEY-----
        """

    /// The public half of ``rsa``.
    static let open = """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqzl6WKY301wWZW7xIMvo
        fE8YbBbqG6MgaF/Hr1kb9OlsXqI6N11PNnAlFcYEFoBJjdVfv2CAk5A0WWk1B3G5
        9QnHWEBY5iE1HdbRqy2wjpiUDJzbtZHzRR7IvXvfIIGhqcAgf06S0+MwsyTJRjKs
        Jo1nK6YhHRJGTjYGOkVs13vvR5PlQE1R2FRIB728S91ZJ9SWoNMTazjr6kmHoBBi
        dUDE3JQP/QDAhtyx9841GT2B4wUQmLRZrzpy/44Xh9kwiEQgt0YevqccloThpLvt
        W8PYRHZvtnwdxvjJeUDZBXUOcT3lvgx+nEI91PN6xOfvvDvqN3VMe8FDOSSKQMMK
        GwIDAQAB
        -----END PUBLIC KEY-----
        """
}
