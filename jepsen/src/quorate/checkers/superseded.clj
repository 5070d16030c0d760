(ns quorate.checkers.superseded
  "Invariant 6: a write of a superseded epoch never lasts: refused (grades A and B), or found and undone within one reconcile
  interval (grade C).

  Time during which the nemesis held a fault does not count against the interval: nobody can undo what nobody can reach."
  (:require [quorate.history :as h]))

(defn- steps
  "The writes that went back to an older epoch: {:write :highest :undone}, :undone being the next write that is good again."
  [writes good?]
  (loop [writes (seq writes), highest 0, found []]
    (if-let [write (first writes)]
      (let [epoch (or (get-in write [:value :epoch]) 0)]
        (if (and (>= epoch highest) (good? write))
          (recur (next writes) epoch found)
          (let [wanted (max highest epoch)]
            (recur (next writes) wanted
                   (conj found {:write write :highest wanted
                                :undone (first (filter #(and (>= (or (get-in % [:value :epoch]) 0) wanted) (good? %))
                                                       (next writes)))})))))
      found)))

(defn- consistent?
  "Whether values and fence are of one intent. At grade C the values go first, and what is late may be either."
  [history service]
  (let [switches (h/switches history service)
        values (get-in (h/services history) [service :values])]
    (fn [write]
      (let [switch (get switches (get-in write [:value :epoch]))]
        (and (h/taken? write)
             (or (nil? switch) (= (set (get values (:to switch))) (set (get-in write [:value :values])))))))))

(defn- landed [service {:keys [write highest]}]
  (let [epoch (get-in write [:value :epoch])]
    (if (or (nil? epoch) (= epoch highest))
      (str service ": values that are not those of epoch " highest " stood at " (h/ms (:time write)) " ms")
      (str service ": a write of epoch " epoch " landed over epoch " highest))))

(defn check [history]
  (let [faults (h/merged (h/fault-spans history))
        {:keys [slack-ms]} (h/setup history)]
    (h/verdict
     6 (mapcat
        (fn [[service {:keys [grade reconcile-ms]}]]
          (if (#{:A :B} grade)
            (map #(landed service %) (steps (h/taken history service) (constantly true)))
            (keep
             (fn [{:keys [write undone] :as step}]
               (let [from (:time write)
                     to (if undone (:time undone) (h/end history))
                     stood (- to from (h/overlap faults from to))
                     allowed (h/ms->ns (+ reconcile-ms slack-ms))]
                 (when (> stood allowed)
                   (str (landed service step) " and stood for " (h/ms stood) " ms without a fault, "
                        (h/ms allowed) " are allowed"))))
             (steps (filter #(and (h/standing? %) (= service (get-in % [:value :service]))) (h/writes history))
                    (consistent? history service)))))
        (h/services history)))))
